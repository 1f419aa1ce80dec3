"""Chats over HTTP at a fixed concurrency, and the questions that all sides are asked."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from benchmarks.processes import http_client
from benchmarks.traffic import SYSTEM

QUESTIONS = (
    "When is my interview, and what should I bring to it?",
    "Has anybody read my application yet?",
    "How long does the first interview take, and who will be there?",
    "Is the role full time? I would like to know the hours.",
    "I cannot come on Tuesday. Can the interview be moved to another day?",
    "What happens after the first interview?",
    "Do I need a licence for this role, and do you pay for the training?",
    "Why was I not invited earlier?",
)
PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Chat:
    """One answered chat: its moments on the monotonic clock, the model that is named in it, and its text."""

    begun: float
    first: float  # the first text of a stream; the end without one
    ended: float
    model: str
    text: str


def messages(i: int) -> list[dict[str, str]]:
    """The i-th chat; no two are the same."""
    asked = f"{QUESTIONS[i % len(QUESTIONS)]} My application has the number {1000 + i}."
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}]


def ask_all(url: str, model: str, numbers: Iterable[int], *, tokens: int, streamed: bool, at_once: int) -> list[Chat]:
    """Ask these chats, greedily, so many at once; raises for a failed one."""

    async def run() -> list[Chat]:
        waiting, found = iter(numbers), list[Chat]()
        async with http_client(PATIENCE) as client:

            async def one() -> None:
                for i in waiting:
                    found.append(await ask(client, url, body(model, i, tokens=tokens, streamed=streamed)))

            await asyncio.gather(*(one() for _ in range(at_once)))
        return found

    return asyncio.run(run())


def body(model: str, i: int, *, tokens: int, streamed: bool) -> dict[str, object]:
    """The request of the i-th chat."""
    return {"model": model, "messages": messages(i), "max_tokens": tokens, "temperature": 0} | ({"stream": True} if streamed else {})


async def ask(client: aiohttp.ClientSession, url: str, sent: dict[str, object]) -> Chat:
    """One chat, streamed or not.

    Raises
    ------
    aiohttp.ClientError
        It failed.
    RuntimeError
        The stream ended with an error.
    """
    begun = time.monotonic()
    async with client.post(f"{url}/v1/chat/completions", json=sent) as answer:
        answer.raise_for_status()
        if not sent.get("stream"):
            found = orjson.loads(await answer.read())
            ended = time.monotonic()
            return Chat(begun, ended, ended, found["model"], found["choices"][0]["message"]["content"])
        first, model, text = 0.0, "", ""
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = orjson.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(f"the stream ended with an error: {chunk['error']}")
            model = chunk["model"]
            piece = chunk["choices"][0]["delta"].get("content") or ""
            if piece and not text:
                first = time.monotonic()
            text += piece
        return Chat(begun, first, time.monotonic(), model, text)


def seconds_of(chats: Sequence[Chat]) -> float:
    """From the start of the first to the end of the last."""
    return max(chat.ended for chat in chats) - min(chat.begun for chat in chats)
