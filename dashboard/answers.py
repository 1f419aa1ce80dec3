"""The bodies of the hub's answers that are made as plain dicts, as the OpenAPI document describes them.

The others are the models of ``dashboard.status``. Here FastAPI validates as well: an answer of another form is a failure of the hub.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from dashboard.actions.rating_queue import QueuedPair
from dashboard.status.models import CurvePoint, DuelShown, Run, Shown
from dashboard.status.people import AuditEntry
from storage.events import Erasable, Moment


class Curve(Shown):
    """The reward model's prequential accuracy, the first point first."""

    points: tuple[CurvePoint, ...]


class Runs(Shown):
    """Training runs, newest first."""

    runs: tuple[Run, ...]


class NewestDuel(Shown):
    """Null before the first duel."""

    duel: DuelShown | None


class Queue(Shown):
    """Leased pairs; counts of open pairs: for this recruiter, and for others only; and what can be answered beside the overall question."""

    pairs: tuple[QueuedPair, ...]
    waiting: int
    passed: int
    objectives: tuple[str, ...]


class AuditTrail(Shown):
    entries: tuple[AuditEntry, ...]


class RenewedLeases(Shown):
    """Pairs that are leased again, and pairs that need no judgment any more; those in neither list are leased to somebody else."""

    held: tuple[str, ...]
    judged: tuple[str, ...]
    waiting: int
    passed: int


class Accepted(Shown):
    """The event that was recorded, durably."""

    event_id: str
    occurred_at: Moment


class RunRequested(Accepted):
    run_id: str


class Verification(BaseModel):
    """What agrees; each kind of difference is a further field with a list of findings."""

    model_config = ConfigDict(frozen=True, extra="allow")

    ok: bool
    checked: int
    unreadable: int
    behind: int
    unpublished: int
    not_covered: tuple[str, ...]

    __pydantic_extra__: dict[str, Any]


class Key(Shown):
    """A public key."""

    keyid: str
    role: str
    type: str
    pem: str


class Keys(Shown):
    """The public keys that sign promotion records."""

    keys: tuple[Key, ...]


class ErasedVersion(Shown):
    """A run whose snapshot holds rows that are erased, and the version trained in it; null if there is none."""

    run_id: str
    version: str | None
    rows: int


class Erasure(Shown):
    """An erasure, and what all erasures so far have reached, those by retention included.

    ``done``: rows and keys are gone. ``preferences``: those taken out of the reward, which forgets them entirely at the entry
    ``forgotten_at`` of ``feedback.preferences``. ``plain``: entries that are erased and that the log holds in plain text.
    ``keys_linger``: seconds after ``done`` in which Kafka's brokers may still have the destroyed keys, wrapped, on their disks.
    """

    done: bool
    what: Erasable
    name: str
    conversations: int
    replies: int
    pairs: int
    preferences: int
    forgotten_at: int | None
    plain: int
    keys_linger: int
    versions: tuple[ErasedVersion, ...]
