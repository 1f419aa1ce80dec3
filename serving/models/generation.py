"""The process that generates the local model's replies: continuous batching on one thread, while another one loads policies.

A process of its own, since decoding calls Python for every operation of every token: beside HTTP it would wait for the interpreter's lock,
and halve its speed. ``local`` is the other end. Champion and challenger of a duel are loaded together; each has batches of its own.
"""

import logging
import os
import queue
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.models.backend import Unavailable
from serving.models.scheduler import Asked, Policies, Scheduler, Served
from serving.requests import FieldRefused
from storage.errors import FeedbackLoopError, InputRefused
from storage.events import Message, Sampling, derived_id
from streams.child import Parent, portable
from trainers.models.reply import Piece, Reply

# torch and transformers take seconds to import: the thread that loads the first policy imports them
if TYPE_CHECKING:
    from trainers.models.sampler import Draw

log = logging.getLogger(__name__)

STANDBY_LIMIT = 1 << 30  # bytes of weights: a policy is small if a second one of its size may stay in memory for a rollback
SWITCH_INTERVAL = 0.0005  # seconds: at Python's 5 ms, decoding often waits that long while a policy is loaded
MAX_READ = 8  # messages that are read between two decoding steps; a prompt is tokenized when it is read

Item = Piece | Reply | Exception


@dataclass(frozen=True)
class Options:
    """The configured model, torch's threads, and the maximum batch size in replies."""

    model: str
    threads: int
    capacity: int


@dataclass(frozen=True)
class Ask:
    """A request for ``n`` replies of the champion, or of the challenger ``version``; ``pieces`` asks for their text as it is generated."""

    request: int
    prompt: tuple[Message, ...]
    sampling: Sampling
    n: int
    top_logprobs: int | None
    pieces: bool
    patient: bool
    version: str | None


@dataclass(frozen=True)
class Cancel:
    """The request has ended, whether its replies have been delivered or nobody waits for them any more."""

    request: int


@dataclass(frozen=True)
class Load:
    """Load a version: the configured model with an adapter. Answered by ``Done``."""

    call: int
    version: str
    adapter: Path | None


@dataclass(frozen=True)
class Serve:
    """Reply with these versions from the next request on, and drop all others but the one on standby. Answered by ``Done``."""

    call: int
    champion: str
    challenger: str | None
    standby: str | None


@dataclass(frozen=True)
class Stop:
    """End the process."""


@dataclass(frozen=True)
class Done:
    """The end of the call; ``small`` tells whether a loaded policy is."""

    call: int
    error: Exception | None = None
    small: bool = False


@dataclass(frozen=True)
class Delivered:
    """What a request gets: a piece or the whole of its reply number ``index``, or the error that ends it."""

    request: int
    index: int
    item: Item


def generate(parent: Parent, options: Options) -> None:
    """Read messages from ``parent``, and send it ``Done`` and lists of ``Delivered``."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    Generation(parent, options).run()
    os._exit(0)  # the other thread may be importing, which the interpreter's own end would abort


class Generation:
    """What the process holds: the policies, the queues and running batches, and the draws of each request."""

    def __init__(self, parent: Parent, options: Options) -> None:
        self._parent, self._options = parent, options
        self._scheduler = Scheduler(options.capacity)
        self._loaded: dict[str, Served] = {}
        self._policies: Policies | None = None
        self._draws: dict[int, list[Draw]] = {}
        self._out: list[Delivered] = []
        self._calls: queue.SimpleQueue[Load | Serve | Stop] = queue.SimpleQueue()

    def run(self) -> None:
        """Generate until the parent says stop or has ended."""
        threading.Thread(target=self._load_policies, name="policies", daemon=True).start()
        try:
            while self._read():
                self._step()
                if self._out:
                    self._parent.send(self._out)
                    self._out = []
        except (EOFError, OSError):
            log.debug("the parent has ended")
        finally:
            self._calls.put(Stop())

    def _read(self) -> bool:
        """Take what the parent has sent; wait for it while there is nothing to generate. False if this is to end."""
        for _ in range(MAX_READ):
            if not self._parent.has_sent(0 if self._scheduler.busy() or self._out else None):
                break
            if isinstance(message := self._parent.receive(), Stop):
                return False
            self._take(message)
        return True

    def _take(self, message: Any) -> None:
        if isinstance(message, Ask):
            try:
                self._enqueue(message)
            except Exception as error:
                if not isinstance(error, FeedbackLoopError):
                    log.exception("a request could not be read")
                self._deliver(message.request, 0, portable(error))
        elif isinstance(message, Cancel):
            for draw in self._draws.pop(message.request, ()):
                draw.cancelled = True  # its row is free at the next step
        else:
            self._calls.put(message)

    def _step(self) -> None:
        if self._policies is None or not self._scheduler.busy():
            return
        try:
            self._scheduler.step(self._policies)
        except Exception as error:
            log.exception("generation failed; aborting %d requests", sum(len(batch.draws) for batch in self._scheduler.batches))
            self._scheduler.fail(portable(error))

    def _enqueue(self, ask: Ask) -> None:
        served = None if self._policies is None else self._policies.named(ask.version)
        if served is None:
            raise Unavailable(f"{ask.version} does not reply: its duel has ended, or it is not loaded")
        from trainers.models.sampler import Draw

        ids = _tokens(served, ask.prompt)
        room = served.policy.window - len(ids)
        if room < 1:
            message = f"messages: {len(ids)} tokens do not fit the context window of {served.policy.window}; shorten them"
            raise FieldRefused(message, "messages", "context_length_exceeded")
        sampling, limit = ask.sampling, min(ask.sampling.max_tokens or room, room)
        draws = []
        for index in range(ask.n):
            if index and ask.sampling.seed is not None:
                sampling = ask.sampling.model_copy(update={"seed": derived_id("choice", ask.sampling.seed, index).int % 2**63})
            deliver = partial(self._deliver, ask.request, index)
            draws.append(Draw(ids, sampling, limit, deliver, pieces=ask.pieces, top_logprobs=ask.top_logprobs))
        self._draws[ask.request] = draws
        (self._scheduler.patient if ask.patient else self._scheduler.waiting).extend(Asked(draw, ask.version) for draw in draws)

    def _deliver(self, request: int, index: int, item: Item) -> None:
        self._out.append(Delivered(request, index, item))

    def _load_policies(self) -> None:
        while not isinstance(call := self._calls.get(), Stop):
            try:
                done = Done(call.call, small=self._load(call)) if isinstance(call, Load) else self._serve(call)
            except Exception as error:  # noqa: BLE001 - raised in the parent
                done = Done(call.call, portable(error))
            self._parent.send(done)
            if self._policies is not None:
                import peft  # noqa: F401  # takes seconds: else the first promotion would import it while candidates wait

    def _load(self, call: Load) -> bool:
        if call.version not in self._loaded:
            import torch
            from transformers.utils.logging import disable_progress_bar

            disable_progress_bar()  # type: ignore[no-untyped-call]  # stderr is a log file, not a terminal
            _import_transformers()
            from trainers.models.policy import load_policy

            torch.set_num_threads(self._options.threads)
            self._loaded[call.version] = Served(call.version, load_policy(self._options.model, call.adapter))
        weights = self._loaded[call.version].policy.model.parameters()
        return bool(sum(each.numel() * each.element_size() for each in weights) <= STANDBY_LIMIT)

    def _serve(self, call: Serve) -> Done:
        kept = [version for version in (call.champion, call.challenger, call.standby) if version is not None]
        self._loaded = {version: self._loaded[version] for version in kept}
        self._policies = Policies(self._loaded[call.champion], None if call.challenger is None else self._loaded[call.challenger])
        return Done(call.call)


def _tokens(served: Served, prompt: Sequence[Message]) -> list[int]:
    for index, message in enumerate(prompt):
        # special tokens in a message would let a candidate inject a system turn
        for mark in served.policy.tokenizer.all_special_tokens:
            if mark and mark in message.content:
                field = f"messages.{index}.content"
                raise InputRefused(f"{field}: contains {mark!r}, a special token of this model", field)
    return served.policy.chat.prompt_ids(prompt)


def _import_transformers() -> None:
    """Import transformers' generation code without scikit-learn: a third of the cold start, and only assisted decoding uses it."""
    from transformers import utils as typed

    utils: Any = typed  # is_sklearn_available is not in the stubs
    available = utils.is_sklearn_available
    utils.is_sklearn_available = lambda: False
    try:
        import transformers.generation.candidate_generator  # noqa: F401
    finally:
        utils.is_sklearn_available = available
