"""Outcome events: the groups that candidates belong to and the decisions about them. Only audits read them."""

from typing import Annotated, Literal

from pydantic import Field

from storage.events.event import Event
from storage.events.fields import Finite, Group, Identifier, Moment

MAX_GROUPS = 20
Groups = Annotated[dict[Identifier, Group], Field(max_length=MAX_GROUPS)]


class GroupsRecorded(Event):
    """The groups that a candidate belongs to, by attribute, such as ``{"sex": "female"}``. ``candidate`` is a pseudonym.

    The latest record of a candidate replaces the earlier ones as a whole; an empty one withdraws them.
    """

    kind: Literal["GroupsRecorded"] = "GroupsRecorded"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    candidate: Identifier
    groups: Groups


class OutcomeRecorded(Event):
    """A decision about a candidate at one stage of one position. ``candidate`` is a pseudonym.

    Of several events with the same candidate and ``outcome_id`` the latest one holds, so a repeat or a correction is not counted twice.
    ``decided_at`` is the time of the decision by the company's clock.
    """

    kind: Literal["OutcomeRecorded"] = "OutcomeRecorded"
    outcome_id: Identifier
    candidate: Identifier
    position: Identifier
    stage: Identifier
    selected: bool
    score: Finite | None = None
    decided_at: Moment
