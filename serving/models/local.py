"""Replies drawn in this process by transformers: one thread fills whatever waits, together, and a promoted policy takes over in between.

Candidates join first. Second responses ride along in places that no candidate waits for, in at most half of them: a row more costs a pass
little, and a server that is always busy still draws its pairs.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.models.backend import ALIASES, NotReady
from storage.errors import InputRefused, Overloaded
from storage.events import Message, Sampling
from trainers.models.reply import Reply

# torch and transformers take seconds to import: the thread that loads the first policy does it, while the server says that it lives
if TYPE_CHECKING:
    from trainers.models.engine import Batch
    from trainers.models.policy import Policy
    from trainers.models.sampler import Deliver, Draw

log = logging.getLogger(__name__)

JOINING = 8  # requests that join between two tokens; more would hold up those under way


@dataclass(frozen=True, eq=False)
class Served:
    """A policy as it serves: under which version's name.

    Raises
    ------
    ConfigurationError
        The policy cannot be batched.
    """

    version: str
    policy: "Policy"

    def __post_init__(self) -> None:
        from trainers.models.engine import check_layers

        check_layers(self.policy)


class Lane:
    """Who waits (candidates, and ``patient`` second responses), and the batches under way (two while a new policy takes over)."""

    def __init__(self, capacity: int) -> None:
        self.waiting: deque[Draw] = deque()
        self.patient: deque[Draw] = deque()
        self.batches: list[Batch] = []
        self._capacity = capacity
        self._joining: list[Draw] = []
        self._riding: list[Draw] = []  # second responses under way

    def busy(self) -> bool:
        return bool(self.waiting or self.patient) or any(batch.draws for batch in self.batches)

    def turn(self, served: Served) -> None:
        """Let newcomers join the batch of ``served``, then draw one token for every row."""
        from trainers.models.engine import Batch

        self._joining = joining = self._newcomers()
        if joining and (not self.batches or self.batches[-1].policy is not served.policy):
            self.batches.append(Batch(served.policy, self._capacity, served.version))
        if joining:
            self.batches[-1].admit(joining)
        self._joining = []
        for batch in self.batches:
            batch.step()
        self.batches = [batch for batch in self.batches if batch.draws or batch.policy is served.policy]

    def _newcomers(self) -> "list[Draw]":
        room = min(JOINING, self._capacity - sum(len(batch.draws) for batch in self.batches))
        joining = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
        self._riding = [draw for draw in self._riding if not draw.cancelled]
        if not self.waiting:
            places = min(room - len(joining), max(1, self._capacity // 2) - len(self._riding))
            riding = [self.patient.popleft() for _ in range(min(places, len(self.patient)))]
            self._riding += riding
            joining += riding
        return [draw for draw in joining if not draw.cancelled]

    def fail(self, error: Exception) -> None:
        """Tell everyone who is under way, and start afresh."""
        for draw in [*self._joining, *(draw for batch in self.batches for draw in batch.draws)]:
            draw.deliver(error)
        self.batches, self._joining, self._riding = [], [], []


class LocalBackend:
    """The ``Backend`` on a transformers model that :meth:`install` brings and replaces."""

    def __init__(self, *, capacity: int, most_waiting: int) -> None:
        self.width = capacity
        self._capacity = capacity
        self._most_waiting = most_waiting
        self._served: Served | None = None
        self._reason = "the model is being loaded"
        self._changed = threading.Condition()
        self._reading = threading.Lock()  # a tokenizer is not to be used by two threads at a time
        self._lane = Lane(capacity)
        self._reserved = {False: 0, True: 0}  # places of requests that are being tokenized, by patience
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="generation", daemon=True)
        self._thread.start()

    def install(self, served: Served) -> None:
        """Serve this policy from the next request on; what is under way is finished on the one before."""
        with self._changed:
            self._served = served
            self._changed.notify()

    def explain(self, reason: str) -> None:
        """Why no model could be loaded so far."""
        self._reason = reason

    def why_not_ready(self) -> str | None:
        return self._reason if self._served is None else None

    def names(self) -> tuple[str, ...]:
        return ALIASES if self._served is None else (self._served.version, *ALIASES)

    async def complete(self, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()

        def settle(item: str | Reply | Exception) -> None:
            if answer.done():
                return
            if isinstance(item, Exception):
                answer.set_exception(item)
            elif isinstance(item, Reply):
                answer.set_result(item)

        draw = await self._submit(prompt, sampling, _on(loop, settle), pieces=False, patient=patient)
        try:
            return await answer
        finally:
            draw.cancelled = True

    async def stream(self, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        said: asyncio.Queue[str | Reply | Exception] = asyncio.Queue()
        draw = await self._submit(prompt, sampling, _on(asyncio.get_running_loop(), said.put_nowait), pieces=True, patient=False)
        try:
            while True:
                item = await said.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Reply):
                    return
        finally:
            draw.cancelled = True  # the client may have gone: its row is free at the next token

    async def close(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, 5)

    async def _submit(self, prompt: Sequence[Message], sampling: Sampling, deliver: "Deliver", *, pieces: bool, patient: bool) -> "Draw":
        served = self._served
        if served is None:
            raise NotReady(f"no reply yet: {self._reason}")
        waiting = self._lane.patient if patient else self._lane.waiting
        if len(waiting) + self._reserved[patient] >= self._most_waiting:
            raise Overloaded(f"{self._most_waiting} requests wait for a reply already", retry_after=1)
        self._reserved[patient] += 1  # before the await: what else comes meanwhile has to find the place taken
        try:
            ids = await asyncio.to_thread(self._tokens, served, prompt)
            room = served.policy.window - len(ids)
            if room < 1:
                raise InputRefused(
                    f"messages: {len(ids)} tokens; this model reads {served.policy.window} with its reply, so shorten them", "messages"
                )
            from trainers.models.sampler import Draw

            draw = Draw(ids, sampling, min(sampling.max_tokens, room), deliver, pieces=pieces)
            with self._changed:
                waiting.append(draw)
                self._changed.notify()
            return draw
        finally:
            self._reserved[patient] -= 1

    def _tokens(self, served: Served, prompt: Sequence[Message]) -> list[int]:
        tokenizer = served.policy.tokenizer
        for index, message in enumerate(prompt):
            # a candidate who writes the template's own marks could put words into the system's mouth
            for mark in tokenizer.all_special_tokens:
                if mark and mark in message.content:
                    raise InputRefused(
                        f"messages.{index}.content: holds {mark!r}, a mark of this model's chat format", f"messages.{index}.content"
                    )
        with self._reading:
            return served.policy.chat.prompt_ids(prompt)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not (self._served and self._lane.busy()):
                    self._changed.wait()
                if self._stopping:
                    return
                served = self._served
            assert served is not None
            try:
                self._lane.turn(served)
            except Exception as error:
                log.exception("drawing replies failed; %d requests are told", sum(len(batch.draws) for batch in self._lane.batches))
                self._lane.fail(error)


def _on(loop: asyncio.AbstractEventLoop, receive: Callable[[str | Reply | Exception], None]) -> "Deliver":
    """``receive``, called in ``loop`` from another thread; for a loop that has closed nobody waits."""

    def deliver(item: str | Reply | Exception) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(receive, item)

    return deliver
