"""The life of a model version, folded from ``models.versions``.

evaluated → rejected | awaiting review → duel → canary → approved → champion → retired | rolled back. A version whose run needs no duel
goes from review to approved. It is stored nowhere else. An event that is not a legal next step has no effect and is listed, whoever
published it, so that no button, call or event can promote a version that has not passed every gate, been approved by a reviewer and won
its duel. ``streams.evaluations`` checks evaluations and the evidence of duels.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from types import MappingProxyType
from typing import Literal
from uuid import UUID

from storage.events import (
    CanaryStarted,
    DuelDecided,
    Event,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    ReviewDecided,
    Verdict,
    derived_id,
)
from trainers.runs.terms import Terms

NO_TERMS = Terms()
BASE = "base"  # the configured base model itself, the first champion

Status = Literal["awaiting review", "rejected", "duel", "canary", "approved", "champion", "retired", "rolled back"]
OPEN: tuple[Status, ...] = ("awaiting review", "duel", "canary")  # not decided yet
Decision = Literal["approve", "reject"]
VersionEvent = ModelEvaluated | ReviewDecided | DuelDecided | CanaryStarted | ModelPromoted | ModelRolledBack


@dataclass(frozen=True)
class Version:
    """State of a challenger; it has only the legal ones of its events.

    Attributes
    ----------
    terms : what it has to go through before it may become champion
    decided : the outcomes of its duel and of its canary
    canary : the steps of its canary that were started
    """

    evaluated: ModelEvaluated
    status: Status
    terms: Terms = NO_TERMS
    reviews: tuple[ReviewDecided, ...] = ()
    decided: tuple[DuelDecided, ...] = ()
    canary: tuple[CanaryStarted, ...] = ()

    @property
    def name(self) -> str:
        return self.evaluated.version

    @property
    def review(self) -> ReviewDecided:
        """The review that approved it."""
        return self.reviews[-1]

    @property
    def through(self) -> bool:
        """Whether it has been approved and has passed everything that comes after approval."""
        rule = self.terms.duel
        return self.status == "approved" and (rule is None or not rule.canary or any(each.stage == "canary" for each in self.decided))


@dataclass(frozen=True)
class Illegal:
    """An event that had no effect, and why."""

    event: Event
    reason: str


@dataclass(frozen=True)
class Versions:
    """State of all versions. ``champions`` ends with the current one; a rollback returns to the one before it.

    ``promoted`` has every promotion that took effect, in the order of the log.
    """

    champions: tuple[str, ...] = (BASE,)
    versions: Mapping[str, Version] = field(default_factory=lambda: MappingProxyType({}))
    illegal: tuple[Illegal, ...] = ()
    seen: frozenset[UUID] = frozenset()
    promoted: tuple[ModelPromoted, ...] = ()

    @property
    def champion(self) -> str:
        return self.champions[-1]

    @property
    def champion_policy(self) -> str | None:
        """Hash of the champion's adapter artifact; None for the base model."""
        return None if self.champion == BASE else self.versions[self.champion].evaluated.policy

    @property
    def previous(self) -> str | None:
        """The champion after a rollback."""
        return self.champions[-2] if len(self.champions) > 1 else None

    def verdicts_against(self, champion: str) -> int:
        """Number of versions that were judged against this champion with sufficient evidence; alpha is spent over them."""
        judged = (version.evaluated for version in self.versions.values())
        return sum(evaluated.champion == champion and evaluated.verdict != "insufficient" for evaluated in judged)


@dataclass(frozen=True)
class Checks:
    """What the fold needs to know from outside the events of versions.

    Attributes
    ----------
    evaluation : why an evaluation is not valid; None if it is
    terms : the terms of the run that an evaluation belongs to
    evidence : why an event's evidence does not show what it says; None if it does
    """

    evaluation: Callable[[ModelEvaluated], str | None]
    terms: Callable[[ModelEvaluated], Terms]
    evidence: Callable[[DuelDecided | CanaryStarted, Version], str | None]


def fold(events: Iterable[Event], checks: Checks) -> Versions:
    """Fold events, ordered as on the log, into the state; events of other kinds are ignored."""
    return reduce(lambda versions, event: step(versions, event, checks), events, Versions())


def step(versions: Versions, event: Event, checks: Checks) -> Versions:
    """Apply one event; idempotent."""
    if not isinstance(event, VersionEvent) or event.event_id in versions.seen:
        return versions
    versions = replace(versions, seen=versions.seen | {event.event_id})
    reason = (checks.evaluation(event) if isinstance(event, ModelEvaluated) else None) or objection(versions, event)
    if reason is None and isinstance(event, DuelDecided | CanaryStarted):
        reason = checks.evidence(event, versions.versions[event.version])
    if reason is not None:
        return replace(versions, illegal=(*versions.illegal, Illegal(event, reason)))
    return _applied(versions, event, checks)


def _applied(versions: Versions, event: VersionEvent, checks: Checks) -> Versions:
    version = versions.versions.get(event.version)
    match event:
        case ModelEvaluated():
            status: Status = "awaiting review" if event.verdict == "passed" else "rejected"
            return _with(versions, Version(event, status, checks.terms(event)))
        case ModelRolledBack():
            versions = _with_status(versions, event.version, "rolled back")
            versions = replace(versions, champions=versions.champions[:-1])
            return _with_status(versions, versions.champion, "champion")
        case ModelPromoted():
            versions = _with_status(versions, versions.champion, "retired")
            versions = _with_status(versions, event.version, "champion")
            return replace(versions, champions=(*versions.champions, event.version), promoted=(*versions.promoted, event))
    assert version is not None
    match event:
        case ReviewDecided():
            approved: Status = "approved" if version.terms.duel is None else "duel"
            decided: Status = approved if event.decision == "approve" else "rejected"
            return _with(versions, replace(version, status=decided, reviews=(*version.reviews, event)))
        case DuelDecided():
            ended: Status = "approved" if event.outcome == "better" else "retired"
            return _with(versions, replace(version, status=ended, decided=(*version.decided, event)))
        case CanaryStarted():
            return _with(versions, replace(version, status="canary", canary=(*version.canary, event)))


def objection(versions: Versions, event: VersionEvent) -> str | None:
    """The reason why the event is not a legal next step; None if it is."""
    match event:
        case ModelEvaluated():
            return _evaluation_objection(versions, event)
        case ReviewDecided():
            return legal_review(versions, event.version, event.decision, event.reviewer)
        case DuelDecided() | CanaryStarted():
            return _duel_objection(versions, event)
        case ModelPromoted():
            version = versions.versions.get(event.version)
            if version is None or version.status != "approved":
                return f"{event.version} is {version.status if version else 'unknown'}; only an approved version becomes champion"
            if not version.through:
                return f"{event.version} has won its duel, but its canary has not ended"
            if event.review != version.review.event_id:
                return f"{event.review} is not the review that approved {event.version}"
            return _stale(versions, version)
        case ModelRolledBack():
            if event.version == BASE:
                return "the base model is the first champion; there is nothing before it to roll back to"
            if event.version != versions.champion:
                return f"{event.version} is not the champion, {versions.champion} is; only the champion can be rolled back"
            return None


def legal_review(versions: Versions, version: str, decision: Decision, reviewer: str | None = None) -> str | None:
    """The reason why this decision on the version is not legal now; None if it is. A version in its duel or canary can be rejected."""
    known = versions.versions.get(version)
    if known is None:
        return f"{version} has not been evaluated"
    if known.status == "rejected" and not known.reviews:
        not_passed = [f"{gate.name}: {gate.verdict}" for gate in known.evaluated.gates if gate.verdict != "passed"]
        return f"{version} did not pass its gates ({', '.join(not_passed)})"
    if decision == "reject" and known.status in ("duel", "canary"):
        return None
    if known.status != "awaiting review":
        return f"{version} is {known.status}; only a version that awaits review can be approved or rejected"
    if decision == "reject":
        return None
    if reviewer is not None and known.terms.excluded is not None and same_person(reviewer, known.terms.excluded):
        return f"{reviewer} requested the run of {version} and may not approve it (four eyes); another person has to"
    other = duelling(versions)
    if known.terms.duel is not None and other is not None:
        opponents = f"{other.name} is in its {other.status} against {versions.champion}"
        return f"{opponents}; approve {version} when that has ended, or reject {other.name}"
    return _stale(versions, known)


def same_person(one: str, other: str) -> bool:
    """Whether two typed names are the same, apart from case and spaces."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def duelling(versions: Versions) -> Version | None:
    """The version in its duel or canary against the champion; at most one."""
    open_ = (version for version in versions.versions.values() if version.status in ("duel", "canary"))
    return next((version for version in open_ if _stale(versions, version) is None), None)


def promotions(versions: Versions) -> list[ModelPromoted]:
    """The promotions that are due by the log and still missing; the hub publishes them. Their ids are deterministic."""
    due = []
    for version in versions.versions.values():
        if version.through and _stale(versions, version) is None:
            cause: ReviewDecided | DuelDecided = version.decided[-1] if version.decided else version.review
            due.append(
                ModelPromoted(
                    event_id=derived_id("ModelPromoted", version.review.event_id),
                    occurred_at=cause.occurred_at,
                    source=version.review.source,
                    version=version.name,
                    review=version.review.event_id,
                )
            )
    return due


def verdict_of(gates: Iterable[Verdict]) -> Verdict:
    """``passed`` if there are gates and all have passed, ``failed`` if one has failed, else ``insufficient``.

    Recomputed here because the verdict of a published event is not trusted.
    """
    verdicts = set(gates)
    if "failed" in verdicts:
        return "failed"
    return "passed" if verdicts == {"passed"} else "insufficient"


def version_name(policy: str) -> str:
    """The name of the challenger whose policy artifact has this hash."""
    return f"v-{policy[:12]}"


def _evaluation_objection(versions: Versions, event: ModelEvaluated) -> str | None:
    if event.version != version_name(event.policy):
        return f"{event.version} is not the name of policy {event.policy[:12]}…"
    if event.version in versions.versions:
        return f"{event.version} has been evaluated before; the first verdict counts"
    if any(version.evaluated.run_id == event.run_id for version in versions.versions.values()):
        return f"run {event.run_id} has a verdict already; the first one counts"
    computed = verdict_of(gate.verdict for gate in event.gates)
    if event.verdict != computed:
        return f"the verdict says {event.verdict}, its gates say {computed}"
    return None


def _duel_objection(versions: Versions, event: DuelDecided | CanaryStarted) -> str | None:
    version = versions.versions.get(event.version)
    if version is None or not version.reviews or event.review != version.review.event_id:
        return f"{event.review} is not the review that approved {event.version}"
    if isinstance(event, DuelDecided):
        if version.status != event.stage:
            return f"{event.version} is {version.status}, not in its {event.stage}"
        if event.champion != version.evaluated.champion:
            return f"{event.version} duels with {version.evaluated.champion}, not with {event.champion}"
        return None if event.outcome == "expired" else _stale(versions, version)
    shares = version.terms.duel.canary if version.terms.duel is not None else ()
    expected: Status = "canary" if version.canary else "approved"
    if version.status != expected or version.through or event.step != len(version.canary) or event.step >= len(shares):
        return f"step {event.step} of a canary is not what comes next for {event.version}, which is {version.status}"
    if event.share != shares[event.step]:
        return f"the share of step {event.step} is {shares[event.step]:g} by the run's settings, not {event.share:g}"
    return _stale(versions, version)


def _stale(versions: Versions, version: Version) -> str | None:
    judged = version.evaluated.champion
    if judged == versions.champion:
        return None
    return f"{version.name} was judged against {judged}, but {versions.champion} is champion now; comparing them takes a new run"


def _with(versions: Versions, version: Version) -> Versions:
    return replace(versions, versions=MappingProxyType({**versions.versions, version.name: version}))


def _with_status(versions: Versions, name: str, status: Status) -> Versions:
    return versions if name == BASE else _with(versions, replace(versions.versions[name], status=status))
