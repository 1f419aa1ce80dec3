"""Second responses: which replies get one, and generating it after the candidate has been answered.

Takes a durable ``ReplySent`` from the chat API, requests another reply to the same prompt at low priority, and publishes both as a
``PairDrawn``. A second upstream writes it where one is set; during a duel the other policy does, at the same sampling parameters. Where
the client asked for several choices, the first two that differ are the pair. If the process is killed, only second responses that were not
generated yet are lost.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from uuid import UUID

from starlette.concurrency import run_in_threadpool

from serving.best_of import best_answer
from serving.duel import CurrentDuel, Duel
from serving.models.backend import Answer, Answering, Backend, NotReady, Question, Unavailable
from serving.reranking import Reranker
from serving.second_choice import SecondChoice
from storage.errors import InputRefused, Overloaded, UpstreamError
from storage.events import ReplySent, Response, derived_id
from streams.intake import Intake

log = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_KNOWN_PAIRS = 100_000  # pairs whose state the feedback API can report, and that are not drawn again


@dataclass(frozen=True)
class PairingRule:
    """Which replies become pairs, and how their second response is sampled.

    Attributes
    ----------
    share : fraction of replies, chosen by a hash of the reply's id; recorded in the event as its probability
    waiting : maximum number of second responses outstanding; beyond it replies get none
    draws : attempts to get a text that differs from the first; if all are equal, or the pair was drawn before, there is no pair
    temperature : minimum temperature, since two replies of one policy at temperature 0 are the same
    """

    share: float
    waiting: int
    draws: int
    temperature: float


class Pairing:
    """Generates second responses in background tasks of the event loop that :meth:`start` is called in."""

    def __init__(
        self,
        backend: Backend,
        intake: Intake,
        rule: PairingRule,
        duel: CurrentDuel | None = None,
        ranker: Reranker | None = None,
        choice: SecondChoice | None = None,
        second: Backend | None = None,
    ) -> None:
        self._backend = backend
        self._second_backend = second
        self._ranker = ranker or Reranker(None)
        self._choice = choice
        self._duel = duel or CurrentDuel()
        self._intake = intake
        self._rule = rule
        self._queue: asyncio.Queue[tuple[ReplySent, Question]] = asyncio.Queue()
        self._outstanding = 0
        self._workers: list[asyncio.Task[None]] = []
        self._known: OrderedDict[UUID, bool] = OrderedDict()  # pair id → whether the pair is on the log
        self._drawn: OrderedDict[bytes, None] = OrderedDict()  # hashes of pairs that are on the log

    @property
    def waiting(self) -> int:
        """How many second responses are being generated, or wait for their turn."""
        return self._outstanding

    def start(self) -> None:
        self._workers = [asyncio.create_task(self._work(), name=f"pairing-{i}") for i in range(self._backend.width)]

    async def stop(self, within: float) -> None:
        """Drain the queue for up to ``within`` seconds, then cancel the workers."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), within)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def offer(self, reply: ReplySent, question: Question) -> UUID | None:
        """Queue a second response to ``reply`` if it is chosen and the queue has room; return the id of the future pair, or None."""
        if not chosen(reply.event_id, self._rule.share) or self._outstanding >= self._rule.waiting:
            return None
        pair_id = pair_of(reply.event_id)
        self.remember(pair_id, drawn=False)
        self._outstanding += 1
        self._queue.put_nowait((reply, question))
        return pair_id

    async def shown(self, reply: ReplySent, other: str) -> UUID | None:
        """Make a pair of two choices of one answer; return its id, or None if the pair was drawn before."""
        pair_id = pair_of(reply.event_id)
        pair = Response(text=reply.reply, version=reply.version), Response(text=other, version=reply.version)
        return pair_id if await self._publish(reply, pair, "shown", 1.0) else None

    def remember(self, pair_id: UUID, *, drawn: bool) -> None:
        self._known[pair_id] = drawn
        self._known.move_to_end(pair_id)
        if len(self._known) > MAX_KNOWN_PAIRS:
            self._known.popitem(last=False)

    def is_drawn(self, pair_id: UUID) -> bool | None:
        """Whether the pair is on the log; ``None`` if it was not made by this process, or was evicted from the cache."""
        return self._known.get(pair_id)

    async def _work(self) -> None:
        while True:
            reply, question = await self._queue.get()
            try:
                await self._draw(reply, question)
            except (UpstreamError, InputRefused, Unavailable) as error:
                self._known.pop(pair_of(reply.event_id), None)
                log.warning("no second response to reply %s: %s", reply.event_id, error)
            except Exception:
                log.exception("no second response to reply %s", reply.event_id)
            finally:
                self._outstanding -= 1
                self._queue.task_done()

    async def _draw(self, reply: ReplySent, question: Question) -> None:
        duel = self._duel.now
        if duel is not None and not duel.second_of(reply):
            duel = None
        probability, drawn = self._rule.share, "sampled"
        if duel is None and self._choice is not None and reply.stratum == "training":
            second, chance = await self._chosen(reply, question, self._choice)
            probability, drawn = probability * chance, "thompson"
        else:
            second = await self._second(reply, question, duel)
            drawn = "sampled" if self._second_backend is None else "upstream"
        if second is None:
            self._known.pop(pair_of(reply.event_id), None)
            return
        if duel is not None:
            drawn = "canary" if reply.version == duel.version else "duel"
        await self._publish(
            reply,
            (Response(text=reply.reply, version=reply.version), Response(text=second.text, version=second.version)),
            drawn,
            probability,
        )

    async def _publish(self, reply: ReplySent, pair: tuple[Response, Response], drawn: str, probability: float) -> bool:
        """Publish the pair, unless it was drawn before; its two sides do not tell who wrote which."""
        pair_id = pair_of(reply.event_id)
        known = _hash_of(reply, pair)
        if known in self._drawn:
            self._known.pop(pair_id, None)
            return False
        self._drawn[known] = None  # before the await, so that the same pair cannot be published beside this one
        if len(self._drawn) > MAX_KNOWN_PAIRS:
            self._drawn.popitem(last=False)
        if pair[0].version != pair[1].version and pair_id.int % 2:
            pair = pair[::-1]
        publish = partial(
            self._intake.pair,
            prompt=reply.prompt,
            a=pair[0],
            b=pair[1],
            conversation_id=reply.conversation_id,
            drawn=drawn,
            probability=probability,
            pair_id=pair_id,
            source=reply.source,
        )
        try:
            await _retry_while_overloaded(partial(run_in_threadpool, publish))
        except BaseException:
            self._drawn.pop(known, None)
            raise
        self.remember(pair_id, drawn=True)
        return True

    async def _chosen(self, reply: ReplySent, question: Question, choice: SecondChoice) -> tuple[Answer | None, float]:
        """One of several other texts than the reply's, and the probability with which it was chosen."""
        found: dict[str, Answer] = {}
        for attempt in range(self._rule.draws + choice.candidates - 1):
            if len(found) == choice.candidates:
                break
            second = await self._draw_once(self._other, reply, question, self._temperature(question), attempt)
            if second is not None:
                found.setdefault(second.text.strip(), second)
        if not found:
            return None, 1.0
        seconds = list(found.values())
        texts = [second.text for second in seconds]
        place, chance = await run_in_threadpool(choice.choose, reply.prompt, texts, pair_of(reply.event_id))
        return seconds[place], chance

    async def _second(self, reply: ReplySent, question: Question, duel: Duel | None) -> Answer | None:
        """Another text than the reply's, by the other policy of a duel; None if all draws gave the same text, or an empty one."""
        model, temperature, best_of = self._other, self._temperature(question), 1
        if duel is not None:
            model = self._backend if reply.version == duel.version else duel.challenger
            temperature, best_of = question.sampling.temperature, question.sampling.best_of
        for attempt in range(self._rule.draws):
            if (second := await self._draw_once(model, reply, question, temperature, attempt, best_of)) is not None:
                return second
        return None

    @property
    def _other(self) -> Answering:
        """The model that writes second responses outside of a duel."""
        return self._backend if self._second_backend is None else self._second_backend

    def _temperature(self, question: Question) -> float | None:
        """At least the rule's; None if an upstream chooses it."""
        given = question.sampling.temperature
        return None if given is None else max(given, self._rule.temperature)

    async def _draw_once(
        self, model: Answering, reply: ReplySent, question: Question, temperature: float | None, attempt: int, best_of: int = 1
    ) -> Answer | None:
        """One more reply to the prompt; None if it is empty or the same text."""
        # a new seed: the request's would give the same reply again
        seed = derived_id("second response", reply.event_id, attempt).int % 2**63
        again = question.again(seed, temperature=temperature, best_of=best_of)
        second = await _retry_while_overloaded(partial(best_answer, model, self._ranker, again, patient=True))
        return second if second.text.strip() and second.text.strip() != reply.reply.strip() else None


def chosen(reply_id: UUID, share: float) -> bool:
    """Whether a reply becomes a pair: a deterministic function of its id (SHA-256)."""
    digest = hashlib.sha256(reply_id.bytes).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def pair_of(reply_id: UUID) -> UUID:
    """The id of the pair made from a reply, known before the second response exists."""
    return derived_id("PairDrawn", reply_id)


def _hash_of(reply: ReplySent, pair: tuple[Response, Response]) -> bytes:
    texts = sorted(response.text for response in pair)
    return hashlib.sha256(repr(([(message.role, message.content) for message in reply.prompt], texts)).encode()).digest()


async def _retry_while_overloaded(call: Callable[[], Awaitable[Result]]) -> Result:
    """Retry while the backend or the log is overloaded or not ready: no client is waiting for a second response."""
    while True:
        try:
            return await call()
        except Overloaded as error:
            await asyncio.sleep(error.retry_after)
        except NotReady:
            await asyncio.sleep(1)
