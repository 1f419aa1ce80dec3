"""Feedback on the replies of OpenAI's own client, where its base URL is FeedbackLoop's.

>>> from openai import OpenAI
>>> from feedbackloop.openai import wrap
>>> client = wrap(OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="unused"))
>>> completion = client.chat.completions.create(model="champion", messages=[{"role": "user", "content": "When is my interview?"}])
>>> completion.feedback.thumb("up", recruiter="ana")

Only the client that is passed in changes. The package ``openai`` is not imported.
"""

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import wraps
from operator import attrgetter
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

from feedbackloop.calls import feedback as calls
from feedbackloop.calls.call import Call
from feedbackloop.client import AsyncClient, Client
from feedbackloop.errors import APIError, SpoolError
from feedbackloop.receipts import Receipt
from feedbackloop.reply_feedback import AsyncReplyFeedback, ReplyFeedback, ReplyIds

log = logging.getLogger(__name__)

METHODS = {  # that return replies or streams of them
    "chat.completions": ("create", "parse"),
    "completions": ("create",),
    "responses": ("create", "parse"),
}
QUESTIONS = ("messages", "input", "prompt")  # their arguments that hold the question
REGENERATE = "regenerate"  # the recruiter of thumbs by on_regenerate
MAX_QUESTIONS = 10_000  # that are remembered for on_regenerate

OpenAIClient = TypeVar("OpenAIClient")


def wrap(
    client: OpenAIClient, *, feedback: Client | AsyncClient | None = None, on_regenerate: Literal["thumb_down"] | None = None
) -> OpenAIClient:
    """Give the replies of an ``openai.OpenAI`` or ``openai.AsyncOpenAI`` client the attribute ``feedback``; returns the same client.

    ``feedback`` is a :class:`ReplyFeedback` (:class:`AsyncReplyFeedback` for the asynchronous client) on completions, responses and
    streams; on a stream once it has been read to its end. Copies by ``with_options`` have it too, raw responses do not.

    Parameters
    ----------
    feedback : the client that sends feedback, such as one with a spool; by default one for the host and the API key of ``client``
    on_regenerate : what the same question asked again in a conversation says of its earlier reply: "thumb_down" records a thumb down by
        the recruiter "regenerate"; None nothing. Only where the request names its conversation in ``metadata["conversation_id"]``, since
        two candidates may begin with the same words

    Raises
    ------
    ValueError
        The base URL does not end in ``/v1``, or ``feedback`` is of the other kind.
    """
    openai: Any = client
    is_async = hasattr(openai, "__aenter__")
    if feedback is None:
        url = str(openai.base_url).rstrip("/")
        if not url.endswith("/v1"):
            raise ValueError(f"base_url: {url} does not end in /v1, as that of FeedbackLoop's serving does")
        kind = AsyncClient if is_async else Client
        feedback = kind(serving=url.removesuffix("/v1"), api_key=openai.api_key or None)
    if isinstance(feedback, AsyncClient) != is_async:
        raise ValueError(f"feedback: {type(feedback).__name__} cannot be used with {type(openai).__name__}")
    if on_regenerate not in (None, "thumb_down"):
        raise ValueError(f"on_regenerate: {on_regenerate!r} is neither 'thumb_down' nor None")
    _wrap(openai, feedback, None if on_regenerate is None else _Questions())
    return client


class _Questions:
    """The latest reply to each question, by conversation. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._replies: OrderedDict[tuple[str, bytes], UUID] = OrderedDict()

    def replaced(self, question: tuple[str, bytes], reply_id: UUID) -> UUID | None:
        """Remember a reply; return the earlier one to the same question."""
        with self._guard:
            earlier = self._replies.pop(question, None)
            self._replies[question] = reply_id
            if len(self._replies) > MAX_QUESTIONS:
                self._replies.popitem(last=False)
        return earlier


def _wrap(openai: Any, feedback: Client | AsyncClient, questions: _Questions | None) -> None:
    replies = _AsyncReplies(feedback, questions) if isinstance(feedback, AsyncClient) else _Replies(feedback, questions)
    for path, names in METHODS.items():
        resource = attrgetter(path)(openai)
        for name in names:
            if (method := getattr(resource, name, None)) is not None:
                setattr(resource, name, replies.method(getattr(method, "without_feedback", method)))

    copy = getattr(openai.copy, "without_feedback", openai.copy)

    def wrapped_copy(*args: Any, **kwargs: Any) -> Any:
        other = copy(*args, **kwargs)
        _wrap(other, feedback, questions)
        return other

    wrapped_copy.without_feedback = copy  # type: ignore[attr-defined]
    openai.copy = openai.with_options = wrapped_copy


class _Replies:
    """Wraps the methods of a synchronous client."""

    def __init__(self, client: Client, questions: _Questions | None) -> None:
        self._client, self._questions = client, questions

    def method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            kwargs, question = _asked(kwargs, self._questions)
            answer = original(*args, **kwargs)
            if kwargs.get("stream") is True and hasattr(answer, "__next__"):
                return FeedbackStream(answer, self, question)
            if (ids := _ids_of(answer)) is not None:
                object.__setattr__(answer, "feedback", ReplyFeedback(self._client, ids))  # no field: model_dump stays what was received
                self.replied(ids, question)
            return answer

        method.without_feedback = original  # type: ignore[attr-defined]
        return method

    def feedback(self, ids: ReplyIds) -> ReplyFeedback:
        return ReplyFeedback(self._client, ids)

    def replied(self, ids: ReplyIds, question: tuple[str, bytes] | None) -> None:
        """Record that an earlier reply to the question was not wanted. The chat goes on if that fails."""
        if (call := _regenerated(ids, question, self._questions)) is not None:
            try:
                self._client.send(call)
            except (APIError, SpoolError) as error:
                log.warning("a regenerated reply was not marked: %s", error)


class _AsyncReplies:
    """Wraps the methods of an asynchronous client."""

    def __init__(self, client: AsyncClient, questions: _Questions | None) -> None:
        self._client, self._questions = client, questions

    def method(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        async def method(*args: Any, **kwargs: Any) -> Any:
            kwargs, question = _asked(kwargs, self._questions)
            answer = await original(*args, **kwargs)
            if kwargs.get("stream") is True and hasattr(answer, "__anext__"):
                return AsyncFeedbackStream(answer, self, question)
            if (ids := _ids_of(answer)) is not None:
                object.__setattr__(answer, "feedback", AsyncReplyFeedback(self._client, ids))
                await self.replied(ids, question)
            return answer

        method.without_feedback = original  # type: ignore[attr-defined]
        return method

    def feedback(self, ids: ReplyIds) -> AsyncReplyFeedback:
        return AsyncReplyFeedback(self._client, ids)

    async def replied(self, ids: ReplyIds, question: tuple[str, bytes] | None) -> None:
        if (call := _regenerated(ids, question, self._questions)) is not None:
            try:
                await self._client.send(call)
            except (APIError, SpoolError) as error:
                log.warning("a regenerated reply was not marked: %s", error)


class _Stream:
    """A stream whose ids are kept when they come by; everything else is the original's."""

    def __init__(self, stream: Any, replies: Any, question: tuple[str, bytes] | None) -> None:
        self._stream, self._replies, self._question = stream, replies, question
        self._ids: ReplyIds | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _feedback(self) -> Any:
        if self._ids is None:
            raise ValueError("the stream has no ids yet: they come with its last chunk, so read it to its end")
        return self._replies.feedback(self._ids)


class FeedbackStream(_Stream):
    """An ``openai.Stream`` with the attribute ``feedback``, once it has been read to its end."""

    @property
    def feedback(self) -> ReplyFeedback:
        return cast(ReplyFeedback, self._feedback())

    def __iter__(self) -> "FeedbackStream":
        return self

    def __next__(self) -> Any:
        item = next(self._stream)
        if self._ids is None and (ids := _ids_of(item)) is not None:
            self._ids = ids
            self._replies.replied(ids, self._question)
        return item

    def __enter__(self) -> "FeedbackStream":
        self._stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> Any:
        return self._stream.__exit__(*error)


class AsyncFeedbackStream(_Stream):
    """An ``openai.AsyncStream`` with the attribute ``feedback``, once it has been read to its end."""

    @property
    def feedback(self) -> AsyncReplyFeedback:
        return cast(AsyncReplyFeedback, self._feedback())

    def __aiter__(self) -> "AsyncFeedbackStream":
        return self

    async def __anext__(self) -> Any:
        item = await anext(self._stream)
        if self._ids is None and (ids := _ids_of(item)) is not None:
            self._ids = ids
            await self._replies.replied(ids, self._question)
        return item

    async def __aenter__(self) -> "AsyncFeedbackStream":
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)


def _ids_of(item: Any) -> ReplyIds | None:
    """The extension field of a reply, a chunk or a response's last event."""
    for holder in (item, getattr(item, "response", None)):
        found = getattr(holder, "feedbackloop", None)
        if isinstance(found, Mapping):
            return ReplyIds.model_validate(found)
    return None


def _asked(kwargs: dict[str, Any], questions: _Questions | None) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """The arguments, which may have held an iterator, and the conversation and a hash of the question if repeats of it are to be seen."""
    metadata = kwargs.get("metadata")
    name = next((name for name in QUESTIONS if name in kwargs), None)
    if questions is None or name is None or not isinstance(metadata, Mapping) or not metadata.get("conversation_id"):
        return kwargs, None
    asked = kwargs[name] if isinstance(kwargs[name], str) else list(kwargs[name])
    text = json.dumps(asked, sort_keys=True, default=lambda value: value.model_dump() if hasattr(value, "model_dump") else repr(value))
    return kwargs | {name: asked}, (str(metadata["conversation_id"]), hashlib.sha256(text.encode("utf-8", "replace")).digest())


def _regenerated(ids: ReplyIds, question: tuple[str, bytes] | None, questions: _Questions | None) -> Call[Receipt] | None:
    """The thumb for an earlier reply to the question, if there is one."""
    if questions is None or question is None or ids.reply_id is None:
        return None
    earlier = questions.replaced(question, ids.reply_id)
    return None if earlier is None else calls.rate(None, "down", recruiter=REGENERATE, reply_id=earlier)
