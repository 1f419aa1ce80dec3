"""What the local model does with the fields of a chat request: choices, log-probabilities, penalties, seeds; and canaries."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from openai.types.chat import ChatCompletion

from access.guard import AccessGuard
from serving.duel import CurrentDuel, Duel
from serving.models.backend import Answer, Choice, Delta, Question, Unavailable, token_counts
from serving.openai.chat import router
from serving.openai.exchange import Service
from serving.pairing import Pairing, PairingRule
from storage.events import Message, PairDrawn, ReplySent
from streams.bus.sqlite import SQLiteBus
from streams.intake import Intake
from tests.serving.conftest import Server, StartApp, ids_of
from tests.serving.openai.stand_in import ASKED


def chat(server: Server, **more: Any) -> ChatCompletion:
    return server.whole(**{"model": "champion", "messages": ASKED} | more)


def texts(answer: ChatCompletion) -> list[str | None]:
    return [choice.message.content for choice in answer.choices]


def test_two_choices_become_a_pair_at_once_and_a_seed_repeats_them(server: Server) -> None:
    answer = chat(server, n=2, seed=41, max_tokens=12, metadata={"conversation_id": "two"})
    assert len(set(texts(answer))) == 2
    ids = ids_of(answer)
    pairs = [event for event in server.events("feedback.pairs") if isinstance(event, PairDrawn) and str(event.pair_id) == ids["pair_id"]]
    assert [(pair.a.text, pair.b.text, pair.drawn, pair.probability) for pair in pairs] == [(*texts(answer), "shown", 1.0)]
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 12
    assert texts(chat(server, n=2, seed=41, max_tokens=12, store=False)) == texts(answer)
    assert texts(chat(server, seed=41, max_tokens=12, store=False)) == texts(answer)[:1], "the first choice is that of n = 1"


def test_streamed_choices_are_those_of_a_whole_answer(server: Server) -> None:
    whole = chat(server, n=3, seed=42, max_tokens=8, store=False)
    chunks = server.streamed(model="champion", messages=ASKED, n=3, seed=42, max_tokens=8, store=False)
    for index, text in enumerate(texts(whole)):
        own = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(choice.delta.content or "" for choice in own) == text
        assert [choice.finish_reason for choice in own if choice.finish_reason] == [whole.choices[index].finish_reason]


def test_log_probabilities_are_those_of_the_model_whatever_the_temperature(server: Server, tiny_model: Path) -> None:
    from trainers.models.policy import load_policy
    from trainers.models.scoring import log_probabilities

    policy = load_policy(str(tiny_model))
    prompt = [Message(role="user", content=ASKED[0]["content"])]
    checked = 0
    for seed in range(6):
        asked = {"seed": seed, "max_tokens": 10, "temperature": 1.4, "top_p": 0.9, "presence_penalty": 0.5, "store": False}
        answer = chat(server, logprobs=True, top_logprobs=3, **asked)
        [choice] = answer.choices
        assert choice.logprobs is not None
        tokens = choice.logprobs.content or []
        if not all(token.token for token in tokens):
            continue  # a special token has no text, so that the text does not tell the tokens
        assert " ".join(token.token for token in tokens) == choice.message.content
        [expected] = log_probabilities(policy, [prompt], [choice.message.content or ""])
        assert [token.logprob for token in tokens] == pytest.approx(expected[: len(tokens)].tolist(), abs=1e-4)
        for token in tokens:
            values = [top.logprob for top in token.top_logprobs]
            assert len(values) == 3
            assert values == sorted(values, reverse=True)
            assert values[0] >= token.logprob
            assert bytes(token.bytes or []).decode() == token.token
        streamed = server.streamed(model="champion", messages=ASKED, logprobs=True, top_logprobs=3, **asked)
        found = [token for chunk in streamed for each in chunk.choices if each.logprobs for token in each.logprobs.content or ()]
        assert found == tokens
        checked += 1
    assert checked > 2


def test_penalties_keep_words_from_being_repeated(server: Server) -> None:
    def distinct(**more: Any) -> int:
        found = [texts(chat(server, seed=seed, max_tokens=24, temperature=0.7, store=False, **more))[0] or "" for seed in range(3)]
        return sum(len(set(text.split())) for text in found)

    plain = distinct()
    assert distinct(presence_penalty=2, frequency_penalty=2) > plain
    assert distinct(presence_penalty=0, frequency_penalty=0.0) == plain
    answer = chat(server, presence_penalty=1.5, frequency_penalty=-0.5, max_tokens=3)
    reply = server.wait_for("chat.replies", lambda event: event.event_id == UUID(ids_of(answer)["reply_id"]))
    assert isinstance(reply, ReplySent)
    assert (reply.sampling.presence_penalty, reply.sampling.frequency_penalty) == (1.5, -0.5)


def test_penalties_and_log_probabilities_of_one_row_do_not_change_another(server: Server) -> None:
    from concurrent.futures import ThreadPoolExecutor

    alone = [texts(chat(server, seed=seed, max_tokens=16, store=False)) for seed in range(4)]
    with ThreadPoolExecutor(12) as crowd:
        for i in range(8):
            crowd.submit(chat, server, seed=90 + i, max_tokens=20, presence_penalty=2, logprobs=True, top_logprobs=5, n=2, store=False)
        again = list(crowd.map(lambda seed: texts(chat(server, seed=seed, max_tokens=16, store=False)), range(4)))
    assert again == alone


class Fixed:
    """A model that says its name; the challenger may be gone."""

    width = 1
    honoured: frozenset[str] | None = None

    def __init__(self, name: str, *, gone: bool = False) -> None:
        self.name, self.gone = name, gone

    def why_not_ready(self) -> None:
        return None

    def names(self) -> tuple[str, ...]:
        return (self.name, "champion")

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        await asyncio.sleep(0)
        if self.gone:
            raise Unavailable("its duel has ended")
        return Answer(self.name, [Choice(f"I am {self.name}", "stop")], token_counts(1, 1))

    async def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        answer = await self.complete(question)
        yield Delta({"content": answer.text})
        yield answer

    async def close(self) -> None: ...


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("gone", "speaker"), [(False, "v-1"), (True, "base")])
def test_a_canary_answers_and_the_champion_does_when_it_has_just_ended(
    start_app: StartApp, tmp_path: Path, gone: bool, speaker: str, stream: bool
) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        champion, challenger = Fixed("base"), Fixed("v-1", gone=gone)
        duel = CurrentDuel()
        duel.now = Duel("v-1", "base", challenger, 1.0)
        intake = Intake(bus, b"k" * 32)
        app = FastAPI()
        app.include_router(router(Service(champion, intake, Pairing(champion, intake, PairingRule(0.0, 1, 1, 1.0), duel), 10, duel)))
        app.add_middleware(AccessGuard)
        with start_app(app) as url:
            body = {"model": "champion", "messages": ASKED, "stream": stream}
            answer = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert f"I am {speaker}" in answer.text
        assert f'"model":"{speaker}"' in answer.text.splitlines()[-4 if stream else 0]
