"""What the hub says about itself: the shapes that ``/v1/status``, ``/v1/runs`` and ``/v1/versions`` answer with and that the pages draw.

They are filled from the warehouse by ``readings`` after each commit and travel to every open page by ``feed``.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from storage.events import GateResult, Moment, Sha256, Source, Verdict


class Shown(BaseModel):
    """A value that is only shown: made by the hub, never read back from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Counts(Shown):
    """Events at every station since the beginning; none of them ever falls."""

    replies: int = 0
    pairs: int = 0
    judgments: int = 0
    ratings: int = 0
    embedded: int = 0
    preferences: int = 0
    removed: int = 0
    learnt: int = 0  # sequence number of the last preference in the reward model
    judgments_seen: int = 0  # of these, the ones that move the retraining threshold
    runs: int = 0
    evaluated: int = 0
    promoted: int = 0
    quarantined: int = 0


class Threshold(Shown):
    """How far it is to the next training run: ``since`` of ``every`` judgments; ``k`` runs were asked for by count."""

    since: int
    every: int
    k: int


class Waiting(Shown):
    """What has arrived and cannot go on yet."""

    to_rate: int = 0  # pairs that still need an opinion, whoever may give it
    judgments_without_pair: int = 0
    judgments_without_features: int = 0
    pairs_without_features: int = 0
    oldest_seconds: float | None = None


class Champion(Shown):
    """The champion by the log; ``serving`` is who answers candidates, which differs while it is being loaded or cannot be."""

    version: str
    since: Moment | None
    policy: str | None
    previous: str | None
    serving: str | None


class Reward(Shown):
    """The reward model's last word about itself."""

    head_id: str
    sequence: int
    judgments_seen: int
    prequential_accuracy: float | None
    prequential_log_loss: float | None
    prequential_n: int
    occurred_at: Moment


class Stamp(Shown):
    """The newest committed event of a kind, so that a client can measure how long it took to become visible."""

    id: str
    occurred_at: Moment


class Newest(Shown):
    judgment: Stamp | None = None
    reward: Stamp | None = None


class Health(Shown):
    ready: bool
    problems: tuple[str, ...] = ()


class Status(Shown):
    """The overview: everything a visitor sees first. ``revision`` grows with each reading."""

    revision: int
    at: Moment
    epoch: int
    simulated: bool
    sources: dict[Source, int]
    counts: Counts
    threshold: Threshold
    waiting: Waiting
    champion: Champion
    awaiting_review: tuple[str, ...]
    reward: Reward | None
    newest: Newest
    lag: dict[str, int]
    health: Health


class CurvePoint(Shown):
    """Prequential accuracy after ``judgments`` judgments."""

    judgments: int
    at: Moment
    accuracy: float | None
    log_loss: float | None
    n: int


class Step(Shown):
    """One heartbeat of a run."""

    stage: str
    step: int
    steps: int
    at: Moment
    metrics: dict[str, float]


class Run(Shown):
    """A training run as far as it has come."""

    run_id: str
    method: str
    threshold: Literal["count", "time", "manual"]
    k: int
    through_sequence: int
    sources: tuple[Source, ...]
    requested_at: Moment
    state: Literal["requested", "overtaken", "frozen", "training", "evaluated", "failed"]
    champion: str | None
    trainer: str | None
    attempt: int | None
    stage: str | None
    step: int
    steps: int
    metrics: dict[str, float]
    artifacts: dict[str, Sha256]
    updated_at: Moment
    version: str | None
    verdict: Verdict | None
    reason: str | None
    history: tuple[Step, ...]


class Review(Shown):
    decision: Literal["approve", "reject"]
    reviewer: str
    reason: str
    occurred_at: Moment


class VersionShown(Shown):
    """A challenger, its gates, whether a reviewer may decide about it, and approve it (``reasons`` say why not)."""

    version: str
    status: str
    verdict: Verdict
    run_id: str
    champion: str
    evaluated_at: Moment
    gates: tuple[GateResult, ...]
    report: str
    policy: str
    reviews: tuple[Review, ...]
    reviewable: bool
    approvable: bool
    reasons: tuple[str, ...]
    simulated: bool


class Passage(Shown):
    """One step in the life of the versions, or one that was no legal step and changed nothing (``reason`` says why)."""

    at: Moment
    what: str
    version: str
    who: str | None
    reason: str | None
    legal: bool


class Versions(Shown):
    champion: str
    previous: str | None
    versions: tuple[VersionShown, ...]
    history: tuple[Passage, ...]


class Reading(Shown):
    """All of it at one moment."""

    status: Status
    curve: tuple[CurvePoint, ...]
    runs: tuple[Run, ...]
    versions: Versions
