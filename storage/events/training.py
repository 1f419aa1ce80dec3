"""Updates of the reward model, and training runs from request to progress."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from storage.events.event import Event
from storage.events.fields import Finite, Identifier, Moment, Name, Sha256, Source
from storage.events.vector import Vector


class RewardUpdated(Event):
    """The reward model after entry ``sequence``, whose judgment was given at ``judged_at`` (absent in updates of older programs).

    ``judgments_before`` and ``judgments_seen`` count what moves the retraining threshold, at the previous update and at this one: pairs
    that were judged, however many people judged each.
    ``prequential_accuracy`` is the share of decisive judgments predicted right before they were learnt, over the last
    ``prequential_n`` of them.
    """

    kind: Literal["RewardUpdated"] = "RewardUpdated"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    head_id: Sha256
    sequence: Annotated[int, Field(ge=1)]
    judgments_before: Annotated[int, Field(ge=0)]
    judgments_seen: Annotated[int, Field(ge=0)]
    mean: Vector
    prequential_accuracy: Annotated[float, Field(ge=0, le=1)] | None
    prequential_log_loss: Annotated[float, Field(ge=0)] | None
    prequential_n: Annotated[int, Field(ge=0)]
    checkpoint: Sha256
    judged_at: Moment | None = None


class TrainingRequested(Event):
    """Enough was learnt (``threshold`` count or time, for the ``k``-th time), or a person asked (manual).

    ``settings`` is the hash of the run's settings in the artifact store; None in requests of older programs. ``requested_by`` is the person
    who asked, as typed in; None for thresholds.
    """

    kind: Literal["TrainingRequested"] = "TrainingRequested"
    schema_version: Literal[3] = 3  # type: ignore[assignment]
    run_id: UUID
    method: Identifier
    threshold: Literal["count", "time", "manual"]
    k: Annotated[int, Field(ge=1)]
    through_sequence: Annotated[int, Field(ge=1)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    settings: Sha256 | None = None
    requested_by: Name | None = None


class DatasetFrozen(Event):
    """The run's data, by the hash of its manifest, and the champion at that moment. The first of a run_id counts."""

    kind: Literal["DatasetFrozen"] = "DatasetFrozen"
    run_id: UUID
    snapshot: Sha256
    champion: Name
    champion_policy: Sha256 | None  # None: the configured base model itself
    challengers_before: Annotated[
        int, Field(ge=0)
    ]  # challengers judged against this champion before, with sufficient evidence; alpha spending counts them


class RunClaimed(Event):
    """``trainer`` runs attempt ``attempt``; the first claim of an attempt wins."""

    kind: Literal["RunClaimed"] = "RunClaimed"
    run_id: UUID
    attempt: Annotated[int, Field(ge=1)]
    trainer: Identifier


class TrainingProgress(Event):
    """A heartbeat of the run: step of steps within a stage, with its metrics (loss, reward margin, KL …).

    ``artifacts`` names what the attempt has put into the artifact store so far: ``data_docs``, the pages on the checks of its data.
    """

    kind: Literal["TrainingProgress"] = "TrainingProgress"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    run_id: UUID
    attempt: Annotated[int, Field(ge=1)]
    stage: Identifier
    step: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    metrics: dict[str, Finite] = Field(default_factory=dict)
    artifacts: dict[Identifier, Sha256] = Field(default_factory=dict)


class TrainingFailed(Event):
    """The attempt ended without a model, and why."""

    kind: Literal["TrainingFailed"] = "TrainingFailed"
    run_id: UUID
    attempt: Annotated[int, Field(ge=1)]
    stage: Identifier
    reason: str
    final: bool  # False: another attempt may succeed
