"""Calls that record decisions about candidates, for audits."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from feedbackloop.calls.call import Call, recorded
from feedbackloop.receipts import OutcomeReceipt


def record_groups(candidate: str, groups: Mapping[str, str], *, idempotency_key: UUID | str | None = None) -> Call[OutcomeReceipt]:
    """Record a candidate's groups by attribute, such as ``{"sex": "female", "race_ethnicity": "Asian"}``.

    ``candidate`` is the id given to ``chat`` as ``user``. The groups replace those recorded before; an empty mapping withdraws
    them. Only audits read them.
    """
    return _outcomes({"candidate": candidate, "groups": dict(groups)}, idempotency_key)


def record_outcome(
    candidate: str,
    *,
    position: str,
    stage: str,
    selected: bool,
    score: float | None = None,
    outcome_id: str | None = None,
    decided_at: datetime | None = None,
    groups: Mapping[str, str] | None = None,
    idempotency_key: UUID | str | None = None,
) -> Call[OutcomeReceipt]:
    """Record a decision about a candidate at a stage of a position, for the impact ratios.

    The same ``outcome_id`` sent again replaces the earlier record; by default there is one for each candidate, position and stage.
    ``decided_at`` needs a time zone; by default it is the time at which the server receives it.
    """
    when = None if decided_at is None else decided_at.isoformat()
    fields = {"position": position, "stage": stage, "selected": selected, "score": score, "outcome_id": outcome_id, "decided_at": when}
    outcome = {name: value for name, value in fields.items() if value is not None}
    body = {"candidate": candidate, "groups": None if groups is None else dict(groups), "outcome": outcome}
    return _outcomes(body, idempotency_key)


def _outcomes(body: Mapping[str, Any], key: UUID | str | None) -> Call[OutcomeReceipt]:
    return recorded("/v1/outcomes", body, key, OutcomeReceipt(spooled=True))
