"""The life of a model version: evaluated, reviewed, promoted, rolled back."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from storage.events.event import Event, Part
from storage.events.fields import Finite, Identifier, Name, Sha256, Text, Verdict


class GateResult(Part):
    """What one gate found: the figure, its interval, on how much evidence, against which limit.

    ``unit`` is "share", "nats", "sd" …; ``low`` and ``high`` bound the interval the gate used; ``words`` says it in plain English.
    """

    name: Identifier
    verdict: Verdict
    figure: Finite | None
    low: Finite | None
    high: Finite | None
    n: Annotated[int, Field(ge=0)]
    limit: str
    unit: str
    words: str


class ModelEvaluated(Event):
    """A challenger was trained and judged against ``champion``. ``report`` and ``policy`` are artifacts."""

    kind: Literal["ModelEvaluated"] = "ModelEvaluated"
    version: Name
    run_id: UUID
    policy: Sha256
    report: Sha256
    champion: Name
    gates: Annotated[tuple[GateResult, ...], Field(min_length=1)]
    verdict: Verdict


class ReviewDecided(Event):
    """A reviewer approved or rejected a version. The name is typed in and not verified."""

    kind: Literal["ReviewDecided"] = "ReviewDecided"
    version: Name
    decision: Literal["approve", "reject"]
    reviewer: Name
    reason: Text


class DuelDecided(Event):
    """The duel, or the canary after it, of the approved ``version`` against ``champion`` has ended with this outcome.

    ``evidence`` is the artifact with the judgments up to ``through_sequence`` that decided it; None where time decided (``expired``).
    """

    kind: Literal["DuelDecided"] = "DuelDecided"
    version: Name
    review: UUID  # the ReviewDecided that began the duel
    champion: Name
    stage: Literal["duel", "canary"]
    outcome: Literal["better", "futile", "harm", "expired"]
    through_sequence: Annotated[int, Field(ge=0)]
    evidence: Sha256 | None
    words: Text


class CanaryStarted(Event):
    """``version``, which has won its duel, answers this share of conversations from here on; ``evidence`` as in :class:`DuelDecided`."""

    kind: Literal["CanaryStarted"] = "CanaryStarted"
    version: Name
    review: UUID
    step: Annotated[int, Field(ge=0)]
    share: Annotated[float, Field(gt=0, lt=1)]
    through_sequence: Annotated[int, Field(ge=0)]
    evidence: Sha256


class ModelPromoted(Event):
    """The version is the champion from here on. ``record`` is the hash of the promotion's signed record; None in older promotions."""

    kind: Literal["ModelPromoted"] = "ModelPromoted"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    version: Name
    review: UUID  # the ReviewDecided that allowed it
    record: Sha256 | None = None


class ModelRolledBack(Event):
    """The champion ``version`` is withdrawn; the champion before it serves again."""

    kind: Literal["ModelRolledBack"] = "ModelRolledBack"
    version: Name
    reviewer: Name
    reason: Text
