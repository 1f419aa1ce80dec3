"""The response models of ``/v1/status``, ``/v1/runs`` and ``/v1/versions``, which the pages draw as well.

``readings`` fills them from the warehouse after each commit; ``feed`` sends them to every open page.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from storage.events import GateResult, Moment, Sha256, Source, Verdict
from trainers.audits.duel import DuelRule, DuelState


class Shown(BaseModel):
    """A value that is made by the hub for display only."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Counts(Shown):
    """Monotonic counters of the events at every station."""

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


class Intervened(Shown):
    """How often a safety filter took an action."""

    filter: str
    action: str
    n: int


class Threshold(Shown):
    """Progress to the next training run: ``since`` of ``every`` judgments; ``k`` runs were requested by count so far."""

    since: int
    every: int
    k: int


class Waiting(Shown):
    """The backlog: what has arrived and cannot be processed yet."""

    to_rate: int = 0  # open pairs: they still need an opinion
    judgments_without_pair: int = 0
    judgments_without_features: int = 0
    pairs_without_features: int = 0
    oldest_seconds: float | None = None


class Champion(Shown):
    """The champion by the log; ``serving`` answers candidates: another version while the champion is loading or cannot be loaded."""

    version: str
    since: Moment | None
    policy: str | None
    previous: str | None
    serving: str | None


class Reward(Shown):
    """The reward model's latest update."""

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
    """What the overview shows. ``revision`` grows with each reading."""

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
    interventions: tuple[Intervened, ...] = ()
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
    """One progress report of a run."""

    stage: str
    step: int
    steps: int
    at: Moment
    metrics: dict[str, float]


class Run(Shown):
    """A training run and its progress; ``waiting`` says which evidence a requested run waits for."""

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
    waiting: str | None = None
    history: tuple[Step, ...]


class Review(Shown):
    decision: Literal["approve", "reject"]
    reviewer: str
    verified: bool = False
    reason: str
    occurred_at: Moment


class VersionShown(Shown):
    """A challenger, its gates, whether a reviewer may decide about it, and approve it (``reasons`` say why not).

    ``duel`` tells whether it has to win a duel after its approval, ``withdrawable`` whether it is in one.
    """

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
    duel: bool
    withdrawable: bool
    simulated: bool


class HistoryEntry(Shown):
    """One event in the history of versions; an illegal one changed nothing, and ``reason`` says why.

    ``attested`` tells of a promotion whether it has a signed record, ``evidence`` of a decided duel or canary which evidence there is.
    """

    at: Moment
    what: str
    version: str
    who: str | None
    verified: bool = False
    reason: str | None
    legal: bool
    attested: bool | None = None
    evidence: Literal["duel", "canary"] | None = None


class Versions(Shown):
    champion: str
    previous: str | None
    versions: tuple[VersionShown, ...]
    history: tuple[HistoryEntry, ...]


class Ending(Shown):
    """How a duel or a canary ended; ``evidence`` is the artifact with the judgments that decided."""

    stage: Literal["duel", "canary"]
    outcome: str
    words: str
    at: Moment
    evidence: Sha256 | None


class DuelShown(Shown):
    """A duel: its rule, where it stands, and the wealth of the bet on the challenger after each number of ``judgments``.

    ``share`` of the conversations are answered by the challenger; ``canary`` says where the canary stands.
    """

    version: str
    champion: str
    status: str
    rule: DuelRule
    state: DuelState
    judgments: tuple[int, ...]
    wealth: tuple[float, ...]
    share: float
    canary: str | None
    endings: tuple[Ending, ...]


class Reading(Shown):
    """Everything the pages show, at one moment."""

    status: Status
    curve: tuple[CurvePoint, ...]
    runs: tuple[Run, ...]
    versions: Versions
    duel: DuelShown | None
