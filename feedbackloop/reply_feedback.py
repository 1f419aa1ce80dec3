"""Feedback on one reply, by the ids that came with it."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from feedbackloop.calls import feedback
from feedbackloop.calls.call import Call
from feedbackloop.calls.feedback import Choice
from feedbackloop.client import AsyncClient, Client
from feedbackloop.connections import described
from feedbackloop.receipts import Receipt

P = ParamSpec("P")


class ReplyIds(BaseModel):
    """The extension field ``feedbackloop`` of a response.

    ``reply_id`` is None if the reply is not logged, and ``pair_id`` if no second response will be drawn.
    """

    model_config = ConfigDict(frozen=True)

    conversation_id: str | None = None
    reply_id: UUID | None = None
    pair_id: UUID | None = None

    def logged(self) -> UUID:
        """``reply_id``; raises ``ValueError`` if there is none."""
        if self.reply_id is None:
            raise ValueError(
                "this reply cannot be judged: it has no reply_id. Either it was not logged (store=False, the model 'unlogged', a tool "
                "call, an empty text), or the server is not FeedbackLoop"
            )
        return self.reply_id


def _thumb(
    ids: ReplyIds, thumb: Literal["up", "down"], *, recruiter: str, reason: str | None = None, idempotency_key: UUID | str | None = None
) -> Call[Receipt]:
    """Record a thumb on the reply."""
    return feedback.rate(None, thumb, recruiter=recruiter, reply_id=ids.logged(), reason=reason, idempotency_key=idempotency_key)


def _score(
    ids: ReplyIds,
    score: float,
    scale: tuple[float, float],
    *,
    recruiter: str,
    reason: str | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Record a score of the reply on a scale from the lowest to the highest, such as ``(1, 5)``."""
    return feedback.score(score, scale, recruiter=recruiter, reply_id=ids.logged(), reason=reason, idempotency_key=idempotency_key)


def _comment(ids: ReplyIds, comment: str, *, recruiter: str, idempotency_key: UUID | str | None = None) -> Call[Receipt]:
    """Record free text about the reply. It teaches nothing."""
    return feedback.comment(comment, recruiter=recruiter, reply_id=ids.logged(), idempotency_key=idempotency_key)


def _prefer(
    ids: ReplyIds,
    choice: Choice,
    *,
    recruiter: str,
    objectives: Mapping[str, Choice] | None = None,
    strength: int | None = None,
    reason: str | None = None,
    shown_first: Literal["A", "B"] | None = None,
    seconds: float | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Record a judgment of the reply's pair: A is the reply, B the second response; ``strength`` is 1 (negligible) to 4 (significant)."""
    if ids.logged() and ids.pair_id is None:
        raise ValueError("this reply has no pair: no second response is drawn for it")
    return feedback.judge(
        ids.pair_id,
        recruiter=recruiter,
        choice=choice,
        objectives=objectives,
        strength=strength,
        reason=reason,
        shown_first=shown_first,
        seconds=seconds,
        idempotency_key=idempotency_key,
    )


def _edit(
    ids: ReplyIds, edited: str, *, recruiter: str, reason: str | None = None, idempotency_key: UUID | str | None = None
) -> Call[Receipt]:
    """Record a recruiter's rewrite of the reply, as a judgment in favour of the rewrite."""
    return feedback.rewrite(edited, recruiter=recruiter, reply_id=ids.logged(), reason=reason, idempotency_key=idempotency_key)


def _withdraw(ids: ReplyIds, *, recruiter: str, reason: str | None = None, idempotency_key: UUID | str | None = None) -> Call[Receipt]:
    """Withdraw the recruiter's thumb, score and comment on the reply."""
    return feedback.withdraw(recruiter=recruiter, reply_id=ids.logged(), reason=reason, idempotency_key=idempotency_key)


def _method(make: Callable[Concatenate[ReplyIds, P], Call[Receipt]]) -> "Callable[Concatenate[ReplyFeedback, P], Receipt]":
    def method(self: "ReplyFeedback", /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        return self._client.send(make(self.ids, *args, **kwargs))

    return _described(method, make)


def _async_method(
    make: Callable[Concatenate[ReplyIds, P], Call[Receipt]],
) -> "Callable[Concatenate[AsyncReplyFeedback, P], Coroutine[Any, Any, Receipt]]":
    async def method(self: "AsyncReplyFeedback", /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        return await self._client.send(make(self.ids, *args, **kwargs))

    return _described(method, make)


Method = TypeVar("Method", bound=Callable[..., Any])


def _described(method: Method, make: Callable[..., Call[Any]]) -> Method:
    described(method, make, skipped=1)
    method.__name__ = make.__name__.removeprefix("_")
    return method


class ReplyFeedback:
    """Feedback on one reply. Methods raise ``ValueError`` if it cannot be judged, and :class:`feedbackloop.APIError`."""

    def __init__(self, client: Client, ids: ReplyIds) -> None:
        self._client, self.ids = client, ids

    thumb = _method(_thumb)
    score = _method(_score)
    comment = _method(_comment)
    prefer = _method(_prefer)
    edit = _method(_edit)
    withdraw = _method(_withdraw)


class AsyncReplyFeedback:
    """The same with coroutines."""

    def __init__(self, client: AsyncClient, ids: ReplyIds) -> None:
        self._client, self.ids = client, ids

    thumb = _async_method(_thumb)
    score = _async_method(_score)
    comment = _async_method(_comment)
    prefer = _async_method(_prefer)
    edit = _async_method(_edit)
    withdraw = _async_method(_withdraw)
