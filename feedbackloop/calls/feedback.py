"""Calls that record what recruiters say, and the pairs that they say it of."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import UUID, uuid5

from feedbackloop.calls.call import Call, Message, as_messages, new_key, recorded
from feedbackloop.receipts import BulkReceipt, Pair, Receipt

Choice = Literal["A", "B", "tie", "neither", "skip"]
PAIRS = UUID("6b1f3c0a-5b7e-4c7e-9a64-0d7a4f2b8c11")  # namespace of pair ids that derive from idempotency keys


def add_pair(
    prompt: str | Sequence[Message],
    responses: tuple[str, str],
    *,
    versions: tuple[str, str] = ("product", "product"),
    conversation_id: str | None = None,
    pair_id: UUID | None = None,
    priority: int = 0,
    opinions: int | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Pair]:
    """Submit two of the product's own responses to one prompt for recruiters to judge.

    ``versions`` says what wrote each response; ``recruiter:`` and a name, that a recruiter did, who is then not asked about it. Pairs of
    a higher ``priority`` (0 to 9) are asked first. ``opinions`` is how many recruiters are asked; None for the server's setting.
    """
    key = new_key(idempotency_key)
    pair_id = pair_id or uuid5(PAIRS, key)  # known without an answer, so that the pair can be judged while both are in the spool
    body: dict[str, Any] = {"prompt": as_messages(prompt), "responses": responses, "versions": versions, "conversation_id": conversation_id}
    body |= {"pair_id": pair_id, "priority": priority, "opinions": opinions}
    return recorded("/v1/pairs", body, key, Pair(pair_id=pair_id, conversation_id=conversation_id, spooled=True))


def judge(
    pair_id: UUID | str | None = None,
    *,
    recruiter: str,
    reply_id: UUID | str | None = None,
    choice: Choice | None = None,
    objectives: Mapping[str, Choice] | None = None,
    strength: int | None = None,
    reason: str | None = None,
    shown_first: Literal["A", "B"] | None = None,
    seconds: float | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Record a recruiter's judgment of a pair, overall or per objective; ``strength`` is 1 (negligible) to 4 (significant).

    ``reply_id`` in place of ``pair_id`` names the pair that was drawn for a reply.
    """
    fields: dict[str, Any] = {"pair_id": pair_id, "reply_id": reply_id, "recruiter": recruiter, "choice": choice, "strength": strength}
    fields |= {"objectives": dict(objectives or {}), "reason": reason, "shown_first": shown_first, "seconds": seconds}
    return _feedback("comparison", fields, idempotency_key)


def rate(
    conversation_id: str | None,
    thumb: Literal["up", "down"],
    *,
    recruiter: str,
    reply_id: UUID | str | None = None,
    reason: str | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Record a thumb on one reply; on the last one of its conversation if ``reply_id`` is None."""
    fields = {"conversation_id": conversation_id, "thumb": thumb, "recruiter": recruiter, "reply_id": reply_id, "reason": reason}
    return _feedback("thumb", fields, idempotency_key)


def score(
    score: float,
    scale: tuple[float, float],
    *,
    recruiter: str,
    reply_id: UUID | str | None = None,
    conversation_id: str | None = None,
    reason: str | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Record a score of one reply, or of a conversation's last one; ``scale`` is the lowest and the highest score, such as ``(1, 5)``.

    Above the middle of the scale it counts as a thumb up, below as a thumb down.
    """
    fields = {"score": score, "scale": list(scale), "recruiter": recruiter, "reply_id": reply_id}
    return _feedback("score", fields | {"conversation_id": conversation_id, "reason": reason}, idempotency_key)


def comment(
    comment: str,
    *,
    recruiter: str,
    reply_id: UUID | str | None = None,
    conversation_id: str | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Record free text about one reply, or about a conversation's last one. It teaches nothing."""
    fields = {"comment": comment, "recruiter": recruiter, "reply_id": reply_id, "conversation_id": conversation_id}
    return _feedback("comment", fields, idempotency_key)


def withdraw(
    *,
    recruiter: str,
    pair_id: UUID | str | None = None,
    reply_id: UUID | str | None = None,
    conversation_id: str | None = None,
    reason: str | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Withdraw what a recruiter has said of a pair or of a reply. A rewrite is withdrawn by the ``pair_id`` of its receipt."""
    fields = {"recruiter": recruiter, "pair_id": pair_id, "reply_id": reply_id, "conversation_id": conversation_id, "reason": reason}
    return _feedback("withdrawal", fields, idempotency_key)


def edit(
    prompt: str | Sequence[Message],
    original: str,
    edited: str,
    *,
    recruiter: str,
    version: str = "product",
    conversation_id: str | None = None,
    reason: str | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """Record a recruiter's rewrite of a reply, as a pair of both judged in favour of the rewrite."""
    fields = {"prompt": as_messages(prompt), "original": original, "edited": edited, "recruiter": recruiter, "version": version}
    return _feedback("edit", fields | {"conversation_id": conversation_id, "reason": reason}, idempotency_key)


def rewrite(
    edited: str,
    *,
    recruiter: str,
    reply_id: UUID | str | None = None,
    conversation_id: str | None = None,
    pair_id: UUID | str | None = None,
    side: Literal["A", "B"] | None = None,
    reason: str | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[Receipt]:
    """As ``edit``, of a response that the server knows: a reply, a conversation's last one, or a side of a pair."""
    fields = {"edited": edited, "recruiter": recruiter, "reply_id": reply_id, "conversation_id": conversation_id}
    return _feedback("edit", fields | {"pair_id": pair_id, "side": side, "reason": reason}, idempotency_key)


def bulk(items: Sequence[Mapping[str, Any]], *, idempotency_key: UUID | str | None = None) -> Call[BulkReceipt]:
    """Record up to 1,000 items of feedback in one commit, each with the fields of ``POST /v1/feedback``, and ``type`` among them.

    Some may be refused while the others are recorded: look at ``refused``.
    """
    return recorded("/v1/feedback/bulk", {"items": [dict(item) for item in items]}, idempotency_key, BulkReceipt(spooled=True))


def _feedback(kind: str, fields: Mapping[str, Any], key: UUID | str | None) -> Call[Receipt]:
    return recorded("/v1/feedback", {"type": kind, **fields}, key, Receipt(spooled=True))
