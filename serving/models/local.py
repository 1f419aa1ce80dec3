"""Local generation with transformers: one thread, continuous batching, and hot swap of the policies between decoding steps.

Champion and challenger of a duel are loaded together; each has batches of its own.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from serving.models.backend import ALIASES, Answer, Choice, Delta, NotReady, Question, Unavailable, token_counts
from serving.models.scheduler import Asked, Policies, Scheduler, Served
from serving.models.upstream import mapping
from serving.openai.messages import TEXT_PARTS, THOUGHTS
from serving.requests import FieldRefused
from storage.errors import InputRefused, QueueFull
from storage.events import Message, derived_id
from trainers.models.reply import Piece, Reply, TokenLogprob

# torch and transformers take seconds to import: the thread that loads the first policy imports them while /healthz already answers
if TYPE_CHECKING:
    from trainers.models.sampler import Deliver, Draw

log = logging.getLogger(__name__)

HONOURED = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop"),
        *("n", "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "user", "metadata", "store"),
    )
)


class LocalBackend:
    """The ``Backend`` for a transformers model, which :meth:`install` sets and replaces."""

    honoured: frozenset[str] | None = HONOURED

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

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        return await self.complete_as(None, question, patient=patient)

    def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        return self.stream_as(None, question)

    async def complete_as(self, version: str | None, question: Question, *, patient: bool) -> Answer:
        """The answer of the challenger ``version``; of the champion if it is None."""
        items: asyncio.Queue[tuple[int, Item]] = asyncio.Queue()
        draws = await self._submit(question, items, pieces=False, patient=patient, version=version)
        replies: dict[int, Reply] = {}
        try:
            while len(replies) < question.n:
                index, item = await items.get()
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, Reply):
                    replies[index] = item
            return _answer([replies[index] for index in range(question.n)])
        finally:
            _cancel(draws)

    async def stream_as(self, version: str | None, question: Question) -> AsyncIterator[Delta | Answer]:
        """The same, in parts."""
        items: asyncio.Queue[tuple[int, Item]] = asyncio.Queue()
        draws = await self._submit(question, items, pieces=True, patient=False, version=version)
        replies: dict[int, Reply] = {}
        try:
            for index in range(question.n):
                yield Delta({"role": "assistant", "content": ""}, index)
            while len(replies) < question.n:
                index, item = await items.get()
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, Reply):
                    replies[index] = item
                else:
                    yield Delta({"content": item.text}, index, _logprobs(item.logprobs or None))
            yield _answer([replies[index] for index in range(question.n)])
        finally:
            _cancel(draws)  # the client may have disconnected: free the rows at the next step

    async def close(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, 5)

    async def _submit(
        self, question: Question, items: "asyncio.Queue[tuple[int, Item]]", *, pieces: bool, patient: bool, version: str | None
    ) -> "list[Draw]":
        policies = self._policies
        if policies is None:
            raise NotReady(f"no reply yet: {self._reason}")
        served = policies.named(version)
        if served is None:
            raise Unavailable(f"{version} does not reply: its duel has ended, or it is not loaded")
        waiting = self._scheduler.patient if patient else self._scheduler.waiting
        if len(waiting) + self._reserved[patient] + question.n > self._most_waiting:
            raise QueueFull(f"the queue is full: {self._most_waiting} replies are waiting to be generated", retry_after=1)
        self._reserved[patient] += question.n  # before the await, so that concurrent requests see the slots taken
        try:
            _check(question.sent)
            ids = await asyncio.to_thread(self._tokens, served, question.prompt)
            room = served.policy.window - len(ids)
            if room < 1:
                raise FieldRefused(
                    f"messages: {len(ids)} tokens do not fit the context window of {served.policy.window}; shorten them",
                    "messages",
                    "context_length_exceeded",
                )
            from trainers.models.sampler import Draw

            loop = asyncio.get_running_loop()
            draws = []
            for index in range(question.n):
                deliver = _call_in(loop, items, index)
                sampling, limit = question.sampling, min(question.sampling.max_tokens or room, room)
                if index and sampling.seed is not None:
                    sampling = sampling.model_copy(update={"seed": derived_id("choice", sampling.seed, index).int % 2**63})
                draws.append(Draw(ids, sampling, limit, deliver, pieces=pieces, top_logprobs=question.top_logprobs))
            with self._changed:
                waiting.extend(Asked(draw, version) for draw in draws)
                self._changed.notify()
            return draws
        finally:
            self._reserved[patient] -= question.n

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

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        return await self._backend.complete_as(self.version, question, patient=patient)

    def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        return self._backend.stream_as(self.version, question)


def _check(sent: Mapping[str, Any]) -> None:
    """Refuse what would change the meaning of the answer and what this engine cannot do; everything else may be ignored."""
    choice = sent.get("tool_choice", sent.get("function_call"))
    if choice not in (None, "auto", "none") and (sent.get("tools") or sent.get("functions")):
        raise InputRefused("tool_choice: the local model answers in text and cannot be made to call a tool; use 'auto'", "tool_choice")
    form = mapping(sent.get("response_format"))
    if form.get("type") not in (None, "text"):
        raise InputRefused(
            f"response_format: the local model cannot be held to {str(form.get('type'))[:40]!r}; ask for text, or set url in [upstream] "
            "to a server that can",
            "response_format",
        )
    if isinstance(kinds := sent.get("modalities"), list) and "audio" in kinds:
        raise InputRefused("modalities: the local model writes text only", "modalities")
    for index, message in enumerate(sent.get("messages") or ()):
        content = mapping(message).get("content")
        for part in content if isinstance(content, list) else ():
            kind = mapping(part).get("type")
            if kind not in (*TEXT_PARTS, *THOUGHTS):
                named = "a part without a type" if kind is None else repr(str(kind)[:40])
                raise InputRefused(f"messages.{index}.content: the local model reads text only, not {named}", f"messages.{index}.content")


def _answer(replies: Sequence[Reply]) -> Answer:
    choices = [Choice(reply.text, reply.finish_reason, {}, _logprobs(reply.logprobs)) for reply in replies]
    return Answer(replies[0].version, choices, token_counts(replies[0].prompt_tokens, sum(reply.completion_tokens for reply in replies)))


def _logprobs(tokens: Sequence[TokenLogprob] | None) -> dict[str, Any] | None:
    """OpenAI's ``logprobs`` of a choice."""
    if tokens is None:
        return None
    content = [
        _of_token(each.token, each.logprob) | {"top_logprobs": [_of_token(token, value) for token, value in each.top]} for each in tokens
    ]
    return {"content": content, "refusal": None}


def _of_token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": None if "\ufffd" in token else list(token.encode())}


def _cancel(draws: "Sequence[Draw]") -> None:
    for draw in draws:
        draw.cancelled = True


Item = Piece | Reply | Exception


def _call_in(loop: asyncio.AbstractEventLoop, items: "asyncio.Queue[tuple[int, Item]]", index: int) -> "Deliver":
    """A function that puts what another thread delivers into the queue, in ``loop``; a no-op once the loop is closed."""

    def deliver(item: Item) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(items.put_nowait, (index, item))

    return deliver
