"""Local generation with transformers: one thread, continuous batching, and hot swap of the policies between decoding steps.

Champion and challenger of a duel are loaded together; each has batches of its own.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from serving.models.backend import ALIASES, NotReady, Unavailable
from serving.models.scheduler import Asked, Policies, Scheduler, Served
from storage.errors import InputRefused, Overloaded
from storage.events import Message, Sampling
from trainers.models.reply import Reply

# torch and transformers take seconds to import: the thread that loads the first policy imports them while /healthz already answers
if TYPE_CHECKING:
    from trainers.models.sampler import Deliver, Draw

log = logging.getLogger(__name__)


class LocalBackend:
    """The ``Backend`` for a transformers model, which :meth:`install` sets and replaces."""

    def __init__(self, *, capacity: int, most_waiting: int) -> None:
        self.width = capacity
        self._capacity = capacity
        self._most_waiting = most_waiting
        self._policies: Policies | None = None
        self._reason = "the model is being loaded"
        self.standby: Served | None = None  # the champion before, loaded for a rollback
        self._changed = threading.Condition()
        self._tokenizer_lock = threading.Lock()  # tokenizers are not thread-safe
        self._scheduler = Scheduler(capacity)
        self._reserved = {False: 0, True: 0}  # queue slots of requests that are being tokenized, by ``patient``
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="generation", daemon=True)
        self._thread.start()

    def install(self, served: Served) -> None:
        """Serve this policy from the next request on; running requests finish on the previous one."""
        with self._changed:
            challenger = self._policies.challenger if self._policies is not None else None
            self._policies = Policies(served, None if challenger is None or challenger.version == served.version else challenger)
            self._changed.notify()

    def install_challenger(self, served: Served | None) -> None:
        """Let this challenger write second responses; None when its duel has ended. A champion has to be installed."""
        with self._changed:
            assert self._policies is not None
            self._policies = Policies(self._policies.champion, served)
            self._changed.notify()

    @property
    def challenger(self) -> Served | None:
        """The challenger that is loaded."""
        return self._policies.challenger if self._policies is not None else None

    @property
    def champion(self) -> Served | None:
        """The champion that is loaded."""
        return self._policies.champion if self._policies is not None else None

    def explain(self, reason: str) -> None:
        """Set the reason reported while no model is loaded."""
        self._reason = reason

    def why_not_ready(self) -> str | None:
        return self._reason if self._policies is None else None

    def names(self) -> tuple[str, ...]:
        return ALIASES if self._policies is None else (self._policies.champion.version, *ALIASES)

    async def complete(self, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
        return await self.complete_as(None, prompt, sampling, patient=patient)

    def stream(self, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        return self.stream_as(None, prompt, sampling)

    async def complete_as(self, version: str | None, prompt: Sequence[Message], sampling: Sampling, *, patient: bool) -> Reply:
        """A reply of the challenger ``version``; of the champion if it is None."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Reply] = loop.create_future()

        def resolve(item: str | Reply | Exception) -> None:
            if answer.done():
                return
            if isinstance(item, Exception):
                answer.set_exception(item)
            elif isinstance(item, Reply):
                answer.set_result(item)

        draw = await self._submit(prompt, sampling, _call_in(loop, resolve), pieces=False, patient=patient, version=version)
        try:
            return await answer
        finally:
            draw.cancelled = True

    async def stream_as(self, version: str | None, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        """The same, in pieces."""
        items: asyncio.Queue[str | Reply | Exception] = asyncio.Queue()
        deliver = _call_in(asyncio.get_running_loop(), items.put_nowait)
        draw = await self._submit(prompt, sampling, deliver, pieces=True, patient=False, version=version)
        try:
            while True:
                item = await items.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Reply):
                    return
        finally:
            draw.cancelled = True  # the client may have disconnected: free its row at the next step

    async def close(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, 5)

    async def _submit(
        self, prompt: Sequence[Message], sampling: Sampling, deliver: "Deliver", *, pieces: bool, patient: bool, version: str | None
    ) -> "Draw":
        policies = self._policies
        if policies is None:
            raise NotReady(f"no reply yet: {self._reason}")
        served = policies.named(version)
        if served is None:
            raise Unavailable(f"{version} does not reply: its duel has ended, or it is not loaded")
        waiting = self._scheduler.patient if patient else self._scheduler.waiting
        if len(waiting) + self._reserved[patient] >= self._most_waiting:
            raise Overloaded(f"the queue is full: {self._most_waiting} requests are waiting for a reply", retry_after=1)
        self._reserved[patient] += 1  # before the await, so that concurrent requests see the slot taken
        try:
            ids = await asyncio.to_thread(self._tokens, served, prompt)
            room = served.policy.window - len(ids)
            if room < 1:
                raise InputRefused(
                    f"messages: {len(ids)} tokens do not fit the context window of {served.policy.window}; shorten them", "messages"
                )
            from trainers.models.sampler import Draw

            draw = Draw(ids, sampling, min(sampling.max_tokens, room), deliver, pieces=pieces)
            with self._changed:
                waiting.append(Asked(draw, version))
                self._changed.notify()
            return draw
        finally:
            self._reserved[patient] -= 1

    def _tokens(self, served: Served, prompt: Sequence[Message]) -> list[int]:
        tokenizer = served.policy.tokenizer
        for index, message in enumerate(prompt):
            # special tokens in a message would let a candidate inject a system turn
            for mark in tokenizer.all_special_tokens:
                if mark and mark in message.content:
                    raise InputRefused(
                        f"messages.{index}.content: contains {mark!r}, a special token of this model", f"messages.{index}.content"
                    )
        with self._tokenizer_lock:
            return served.policy.chat.prompt_ids(prompt)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not (self._policies and self._scheduler.busy()):
                    self._changed.wait()
                if self._stopping:
                    return
                policies = self._policies
            assert policies is not None
            try:
                self._scheduler.step(policies)
            except Exception as error:
                log.exception("generation failed; aborting %d requests", sum(len(batch.draws) for batch in self._scheduler.batches))
                self._scheduler.fail(error)


class ChallengerModel:
    """The challenger of a local backend, as a model that replies."""

    def __init__(self, backend: LocalBackend, version: str) -> None:
        self._backend, self.version = backend, version

    async def complete(self, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
        return await self._backend.complete_as(self.version, prompt, sampling, patient=patient)

    def stream(self, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        return self._backend.stream_as(self.version, prompt, sampling)


def _call_in(loop: asyncio.AbstractEventLoop, receive: Callable[[str | Reply | Exception], None]) -> "Deliver":
    """Wrap ``receive`` so that another thread can call it in ``loop``; a no-op once the loop is closed."""

    def deliver(item: str | Reply | Exception) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(receive, item)

    return deliver
