"""Simulated recruiters and candidates who do not give up: the traffic under which chaos is made.

They speak HTTP to serving and hub. What is answered with 2xx is remembered as acknowledged; what is not is tried again at the other door.
Pairs come with two responses of the world's own, so that neither their rate nor their quality depends on a language model under attack.
"""

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmarks.processes import http_client
from simulation.calls import HEADERS
from simulation.corpus import draw_reply
from simulation.recruiters import Recruiter, draw_recruiters
from simulation.world import Conversation, World
from storage.strata import stratum_of

RECRUITERS = 48
HANDS = {"judge": 32, "draw": 8, "chat": 4}  # requests under way at a time
# Of the conversations in the evaluation stratum, the share that is judged: a trial's head takes the third power of their judgments, of
# which each pair gets as many as there are recruiters here, and the runs are to come to an end.
EVALUATED = 0.1
PATIENCE = 3.0  # seconds that a client waits for an answer
AVOIDED = 5.0  # seconds that people try the other door first, after one gave none; then one of them looks whether it does again


@dataclass
class Pair:
    """A pair that serving has acknowledged, and who has not judged it yet."""

    pair_id: str
    conversation: Conversation
    prompt: list[dict[str, str]]
    texts: tuple[str, str]
    left: list[Recruiter] = field(default_factory=list)


class Crowd:
    """People at work from ``start`` to ``stop``, in a thread of their own.

    Parameters
    ----------
    rates : how often a second each is done: "judge", "draw" (a pair), "chat"
    key : the installation's, by which a conversation's stratum is known before it begins

    Attributes
    ----------
    acknowledged : event id → kind of event, of all that was answered with 2xx
    unanswered : requests that got no 2xx, by what they wanted; whether they had an effect is not known
    """

    def __init__(self, serving: str, hub: str, *, seed: int, rates: dict[str, float], key: bytes) -> None:
        self.acknowledged: dict[str, str] = {}
        self.unanswered: dict[str, int] = dict.fromkeys(rates, 0)
        self._serving, self._hub, self._rates = serving, hub, rates
        self._key = key
        self._rng = random.Random(f"crowd {seed}")
        self._world = World(seed)
        self._recruiters = draw_recruiters(self._world, RECRUITERS)
        self._waiting: list[Pair] = []
        self._pairs: list[Pair] = []
        self._failed: dict[str, float] = {}  # door → when it last gave no answer
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="crowd", daemon=True)
        self._failure: BaseException | None = None
        self._started = self._stopped = 0.0

    def start(self) -> None:
        self._started = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Let the requests under way end."""
        self._over.set()
        self._thread.join(10 * PATIENCE)
        self._stopped = time.monotonic()
        self.check()

    def check(self) -> None:
        """Raise what ended the people's work, if anything did."""
        if self._failure is not None:
            raise self._failure

    @property
    def judgments_per_second(self) -> float:
        """Acknowledged ones, over the whole time from start to stop, outages included."""
        return sum(kind == "JudgmentGiven" for kind in self.acknowledged.values()) / (self._stopped - self._started)

    async def _work(self) -> None:
        acts: dict[str, Callable[[aiohttp.ClientSession], Awaitable[None]]] = {"judge": self._judge, "draw": self._draw, "chat": self._chat}
        try:
            async with http_client(PATIENCE, headers=HEADERS) as client:
                await asyncio.gather(*(self._paced(client, name, acts[name]) for name in self._rates))
        except BaseException as error:
            self._failure = error
            raise

    async def _paced(self, client: aiohttp.ClientSession, name: str, act: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
        """Do it ``rate`` times a second on average: what an outage held up is made up for afterwards."""
        done = 0

        async def hand() -> None:
            nonlocal done
            while not self._over.is_set():
                if done >= self._rates[name] * (time.monotonic() - self._started):
                    await asyncio.sleep(0.01)
                    continue
                done += 1
                await act(client)

        await asyncio.gather(*(hand() for _ in range(HANDS[name])))

    async def _draw(self, client: aiohttp.ClientSession) -> None:
        conversation = self._world.conversation(self._rng, turns=1)
        while stratum_of(conversation.conversation_id, self._key) == "evaluation" and self._rng.random() > EVALUATED:
            conversation = self._world.conversation(self._rng, turns=1)
        prompt, record = conversation.prompt(), conversation.records[0]
        texts = (draw_reply(self._rng, record), draw_reply(self._rng, record))
        if texts[0] == texts[1]:
            return
        body = {"prompt": prompt, "responses": texts, "conversation_id": conversation.conversation_id}
        answer = await self._accepted(client, "draw", "PairDrawn", [(f"{self._serving}/v1/pairs", body)])
        if answer is not None:
            recruiters = self._rng.sample(self._recruiters, len(self._recruiters))
            pair = Pair(answer["pair_id"], conversation, prompt, texts, recruiters)
            self._pairs.append(pair)
            self._waiting.append(pair)

    async def _judge(self, client: aiohttp.ClientSession) -> None:
        while not self._pairs:
            if self._over.is_set():
                return
            await asyncio.sleep(0.05)
        if self._waiting:
            number = self._rng.randrange(len(self._waiting))
            pair = self._waiting[number]
            recruiter = pair.left.pop()
            if not pair.left:
                self._waiting.pop(number)
        else:  # all is judged: somebody thinks again, and the second judgment replaces the first
            pair, recruiter = self._rng.choice(self._pairs), self._rng.choice(self._recruiters)
        record = pair.conversation.record_of(pair.prompt)
        said = recruiter.judge(record, pair.prompt, *pair.texts, self._rng.choice(("A", "B")), self._rng)
        body = {
            "pair_id": pair.pair_id,
            "recruiter": recruiter.name,
            "choice": said.choice,
            "strength": said.strength,
            "reason": said.reason,
            "shown_first": said.shown_first,
            "seconds": said.seconds,
        }
        doors = [(f"{self._serving}/v1/feedback", {"type": "comparison"} | body), (f"{self._hub}/v1/judgments", body)]
        self._rng.shuffle(doors)
        doors.sort(key=lambda door: self._failed.get(door[0], 0.0) > time.monotonic() - AVOIDED)
        await self._accepted(client, "judge", "JudgmentGiven", doors)

    async def _chat(self, client: aiohttp.ClientSession) -> None:
        conversation = self._world.conversation(self._rng, turns=1)
        body = {
            "model": "champion",
            "messages": conversation.prompt(),
            "max_tokens": 64,
            "metadata": {"conversation_id": conversation.conversation_id},
        }
        await self._accepted(client, "chat", "ReplySent", [(f"{self._serving}/v1/chat/completions", body)])

    async def _accepted(
        self, client: aiohttp.ClientSession, what: str, kind: str, doors: list[tuple[str, dict[str, Any]]]
    ) -> dict[str, Any] | None:
        """The 2xx answer, from whichever door gives one; None where the people go home before."""
        while not self._over.is_set():
            for url, body in doors:
                if url in self._failed:
                    self._failed[url] = time.monotonic()
                said = await self._answer(client, url, body)
                if said is not None:
                    self._failed.pop(url, None)
                    event_id = said["feedbackloop"]["reply_id"] if kind == "ReplySent" else said["event_id"]
                    if event_id is not None:
                        self.acknowledged[event_id] = kind
                    return said
                self.unanswered[what] += 1
                self._failed[url] = time.monotonic()
            await asyncio.sleep(0.2)
        return None

    async def _answer(self, client: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What was answered with 2xx; None where nothing was, or that the door is shut."""
        try:
            async with client.post(url, json=body) as answer:
                if answer.ok:
                    said: dict[str, Any] = await answer.json()
                    return said
                if answer.status < 500:
                    raise AssertionError(f"{url} refused a well-formed request: {answer.status} {(await answer.text())[:300]}")
        except (aiohttp.ClientError, TimeoutError):
            pass
        return None
