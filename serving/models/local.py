"""Local generation with transformers, in a process of its own: see ``generation``.

The backend knows which versions are loaded there and hands requests on. If the process ends, its requests fail and it has :attr:`lost`
its versions; installing one starts another process.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from serving.models.backend import ALIASES, Answer, Choice, Delta, NotReady, Question, Unavailable, token_counts
from serving.models.generation import Ask, Cancel, Delivered, Options
from serving.models.generation_process import GenerationProcess
from serving.models.upstream import mapping
from serving.openai.messages import TEXT_PARTS, THOUGHTS
from storage.errors import InputRefused, QueueFull
from trainers.models.reply import Piece, Reply, TokenLogprob

log = logging.getLogger(__name__)

HONOURED = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop"),
        *("n", "logprobs", "top_logprobs", "frequency_penalty", "presence_penalty", "user", "metadata", "store"),
    )
)


class Versions(NamedTuple):
    """The versions that are loaded, by role."""

    champion: str
    challenger: str | None = None
    standby: str | None = None


class _Request(NamedTuple):
    """Where a request's replies go: a queue, and the event loop that waits for it."""

    loop: asyncio.AbstractEventLoop
    items: "asyncio.Queue[Delivered]"


class LocalBackend:
    """The ``Backend`` for a transformers model.

    :meth:`install`, :meth:`install_challenger` and :meth:`stand_by` are called by one thread. They wait until the version is loaded, and
    raise ``FeedbackLoopError`` if it cannot be, or the process ends.

    Parameters
    ----------
    options : what to generate with; the process is started when the first version is installed
    most_waiting : maximum number of replies that wait while ``capacity`` others are generated; as many second responses may wait
    """

    honoured: frozenset[str] | None = HONOURED

    def __init__(self, options: Options, *, most_waiting: int) -> None:
        self.width = options.capacity
        self.versions: Versions | None = None
        self._options = options
        self._bound = most_waiting + options.capacity
        self._process: GenerationProcess | None = None
        self._reason = "the model is being loaded"
        self._small: dict[str, bool] = {}  # by loaded version
        self._requests: dict[int, _Request] = {}
        self._numbers = itertools.count()
        self._unfinished = {False: 0, True: 0}  # replies, by ``patient``
        self._lock = threading.Lock()
        self._closing = False

    def install(self, version: str, adapter: Path | None) -> None:
        """Serve this version from the next request on. The previous one finishes its requests, and stays on standby if it is small."""
        self._load(version, adapter)
        before = self.versions
        challenger = before.challenger if before is not None and before.challenger != version else None
        standby = before.champion if before is not None and self._small.get(before.champion) else None
        self._serve(Versions(version, challenger, standby))

    def install_challenger(self, version: str | None, adapter: Path | None = None) -> None:
        """Let this challenger write second responses; None when its duel has ended. A champion has to be installed."""
        if version is not None:
            self._load(version, adapter)
        self._serve(self._installed()._replace(challenger=version))

    def stand_by(self, version: str, adapter: Path | None) -> bool:
        """Load the version for a rollback, if the champion is small; return whether it is loaded."""
        if not self._small.get(self._installed().champion):
            return False
        self._load(version, adapter)
        self._serve(self._installed()._replace(standby=version))
        return True

    @property
    def lost(self) -> bool:
        """Whether no version is installed (any more): the process has ended."""
        return self.versions is None

    def explain(self, reason: str) -> None:
        """Set the reason reported while no model is loaded."""
        self._reason = reason

    def why_not_ready(self) -> str | None:
        return self._reason if self.versions is None else None

    def names(self) -> tuple[str, ...]:
        versions = self.versions
        return ALIASES if versions is None else (versions.champion, *ALIASES)

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        return await self.complete_as(None, question, patient=patient)

    def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        return self.stream_as(None, question)

    async def complete_as(self, version: str | None, question: Question, *, patient: bool) -> Answer:
        """The answer of the challenger ``version``; of the champion if it is None."""
        replies: dict[int, Reply] = {}
        with self._asked(question, pieces=False, patient=patient, version=version) as items:
            while len(replies) < question.n:
                index, item = _raised(await items.get())
                assert isinstance(item, Reply)
                replies[index] = item
        return _answer([replies[index] for index in range(question.n)])

    async def stream_as(self, version: str | None, question: Question) -> AsyncIterator[Delta | Answer]:
        """The same, in parts. Nothing is yielded before there is text, so that an error before it can be answered by its status."""
        replies: dict[int, Reply] = {}
        started = False
        with self._asked(question, pieces=True, patient=False, version=version) as items:
            while len(replies) < question.n:
                index, item = _raised(await items.get())
                if not started:
                    started = True
                    for each in range(question.n):
                        yield Delta({"role": "assistant", "content": ""}, each)
                if isinstance(item, Reply):
                    replies[index] = item
                else:
                    yield Delta({"content": item.text}, index, _logprobs(item.logprobs or None))
        yield _answer([replies[index] for index in range(question.n)])

    async def close(self) -> None:
        self._closing = True
        if self._process is not None:
            await asyncio.to_thread(self._process.stop)

    @contextmanager
    def _asked(self, question: Question, *, pieces: bool, patient: bool, version: str | None) -> "Iterator[asyncio.Queue[Delivered]]":
        """Send the question; a queue of what is generated for it. On leaving, what is not finished is cancelled."""
        number, items = next(self._numbers), asyncio.Queue[Delivered]()
        with self._lock:
            process, versions = self._process, self.versions
            if process is None or versions is None:
                raise NotReady(f"no reply yet: {self._reason}")
            if version not in (None, versions.challenger):
                raise Unavailable(f"{version} does not reply: its duel has ended, or it is not loaded")
            _check(question.sent)
            if self._unfinished[patient] + question.n > self._bound:
                raise QueueFull(f"the queue is full: {self._bound} replies are waiting or being generated", retry_after=1)
            self._unfinished[patient] += question.n
            self._requests[number] = _Request(asyncio.get_running_loop(), items)
        process.send(Ask(number, question.prompt, question.sampling, question.n, question.top_logprobs, pieces, patient, version))
        try:
            yield items
        finally:
            with self._lock:
                self._unfinished[patient] -= question.n
                del self._requests[number]
            process.send(Cancel(number))

    def _installed(self) -> Versions:
        """Raises :class:`NotReady` if there are none: the process has ended."""
        if (versions := self.versions) is None:
            raise NotReady(self._reason)
        return versions

    def _load(self, version: str, adapter: Path | None) -> None:
        if version not in self._small:
            self._small[version] = self._running().load(version, adapter).result()

    def _serve(self, versions: Versions) -> None:
        process = self._running()
        process.serve(*versions).result()
        self._small = {version: small for version, small in self._small.items() if version in versions}
        with self._lock:
            if process is self._process:
                self.versions = versions

    def _running(self) -> GenerationProcess:
        with self._lock:
            if self._process is None:
                self._process = GenerationProcess(self._options, deliver=self._deliver, ended=self._ended)
            return self._process

    def _deliver(self, delivered: Sequence[Delivered]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Queue[Delivered], Delivered]]] = {}
        with self._lock:
            for each in delivered:
                if (request := self._requests.get(each.request)) is not None:
                    by_loop.setdefault(request.loop, []).append((request.items, each))
        for loop, items in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_put, items)

    def _ended(self, reason: str) -> None:
        with self._lock:
            self._process, self.versions, self._small = None, None, {}
            self._reason = f"{reason}; it is being started again"
            failed = [Delivered(number, 0, NotReady(reason)) for number in self._requests]
        if not self._closing:
            log.error("%s", self._reason)
        self._deliver(failed)


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


def _raised(delivered: Delivered) -> tuple[int, Piece | Reply]:
    """The item and the number of its reply, unless it is an error."""
    if isinstance(delivered.item, Exception):
        raise delivered.item
    return delivered.index, delivered.item


def _put(items: Sequence[tuple[asyncio.Queue[Delivered], Delivered]]) -> None:
    for waiting, item in items:
        waiting.put_nowait(item)
