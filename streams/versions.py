"""The life of a model version, folded from ``models.versions``: evaluated → rejected | awaiting review → champion → retired | rolled back.

It is stored nowhere else. An event that is not a legal next step has no effect and is listed, whoever published it, so that no button,
call or event can promote a version that has not passed every gate and been approved by a reviewer. ``streams.evaluations`` validates
evaluations.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from types import MappingProxyType
from typing import Literal
from uuid import UUID

from storage.events import Event, ModelEvaluated, ModelPromoted, ModelRolledBack, ReviewDecided, Verdict, derived_id

BASE = "base"  # the configured base model itself, the first champion

Status = Literal["awaiting review", "rejected", "approved", "champion", "retired", "rolled back"]


@dataclass(frozen=True)
class Version:
    """State of a challenger; ``reviews`` has only the legal ones."""

    evaluated: ModelEvaluated
    status: Status
    reviews: tuple[ReviewDecided, ...] = ()

    @property
    def name(self) -> str:
        return self.evaluated.version


@dataclass(frozen=True)
class Illegal:
    """An event that had no effect, and why."""

    event: Event
    reason: str


@dataclass(frozen=True)
class Versions:
    """State of all versions. ``champions`` ends with the current one; a rollback returns to the one before it."""

    champions: tuple[str, ...] = (BASE,)
    versions: Mapping[str, Version] = field(default_factory=lambda: MappingProxyType({}))
    illegal: tuple[Illegal, ...] = ()
    seen: frozenset[UUID] = frozenset()

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


EvaluationCheck = Callable[[ModelEvaluated], str | None]  # why an evaluation is not valid; None if it is


def fold(events: Iterable[Event], check: EvaluationCheck) -> Versions:
    """Fold events, ordered as on the log, into the state; events of other kinds are ignored."""
    return reduce(lambda versions, event: step(versions, event, check), events, Versions())


def step(versions: Versions, event: Event, check: EvaluationCheck) -> Versions:
    """Apply one event; idempotent."""
    if not isinstance(event, ModelEvaluated | ReviewDecided | ModelPromoted | ModelRolledBack) or event.event_id in versions.seen:
        return versions
    versions = replace(versions, seen=versions.seen | {event.event_id})
    reason = (check(event) if isinstance(event, ModelEvaluated) else None) or objection(versions, event)
    if reason is not None:
        return replace(versions, illegal=(*versions.illegal, Illegal(event, reason)))
    match event:
        case ModelEvaluated():
            status: Status = "awaiting review" if event.verdict == "passed" else "rejected"
            return _with(versions, Version(event, status))
        case ReviewDecided():
            version = versions.versions[event.version]
            decided: Status = "approved" if event.decision == "approve" else "rejected"
            return _with(versions, replace(version, status=decided, reviews=(*version.reviews, event)))
        case ModelPromoted():
            versions = _with_status(versions, versions.champion, "retired")
            versions = _with_status(versions, event.version, "champion")
            return replace(versions, champions=(*versions.champions, event.version))
        case ModelRolledBack():
            versions = _with_status(versions, event.version, "rolled back")
            versions = replace(versions, champions=versions.champions[:-1])
            return _with_status(versions, versions.champion, "champion")


def objection(versions: Versions, event: ModelEvaluated | ReviewDecided | ModelPromoted | ModelRolledBack) -> str | None:
    """The reason why the event is not a legal next step; None if it is."""
    match event:
        case ModelEvaluated():
            return _evaluation_objection(versions, event)
        case ReviewDecided():
            return legal_review(versions, event.version, event.decision)
        case ModelPromoted():
            version = versions.versions.get(event.version)
            if version is None or version.status != "approved":
                return f"{event.version} is {version.status if version else 'unknown'}; only an approved version becomes champion"
            if event.review != version.reviews[-1].event_id:
                return f"{event.review} is not the review that approved {event.version}"
            return _stale(versions, version)
        case ModelRolledBack():
            if event.version == BASE:
                return "the base model is the first champion; there is nothing before it to roll back to"
            if event.version != versions.champion:
                return f"{event.version} is not the champion, {versions.champion} is; only the champion can be rolled back"
            return None


def legal_review(versions: Versions, version: str, decision: Literal["approve", "reject"]) -> str | None:
    """The reason why this decision on the version is not legal now; None if it is."""
    known = versions.versions.get(version)
    if known is None:
        return f"{version} has not been evaluated"
    if known.status == "rejected" and not known.reviews:
        not_passed = [f"{gate.name}: {gate.verdict}" for gate in known.evaluated.gates if gate.verdict != "passed"]
        return f"{version} did not pass its gates ({', '.join(not_passed)})"
    if known.status != "awaiting review":
        return f"{version} is {known.status}; only a version that awaits review can be approved or rejected"
    return _stale(versions, known) if decision == "approve" else None


def promotions(versions: Versions) -> list[ModelPromoted]:
    """The promotions that approvals on the log require and that are still missing; the hub publishes them. Their ids are deterministic."""
    due = []
    for version in versions.versions.values():
        if version.status == "approved" and _stale(versions, version) is None:
            review = version.reviews[-1]
            due.append(
                ModelPromoted(
                    event_id=derived_id("ModelPromoted", review.event_id),
                    occurred_at=review.occurred_at,
                    source=review.source,
                    version=version.name,
                    review=review.event_id,
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


def _stale(versions: Versions, version: Version) -> str | None:
    judged = version.evaluated.champion
    if judged == versions.champion:
        return None
    return f"{version.name} was judged against {judged}, but {versions.champion} is champion now; comparing them takes a new run"


def _with(versions: Versions, version: Version) -> Versions:
    return replace(versions, versions=MappingProxyType({**versions.versions, version.name: version}))


def _with_status(versions: Versions, name: str, status: Status) -> Versions:
    return versions if name == BASE else _with(versions, replace(versions.versions[name], status=status))
