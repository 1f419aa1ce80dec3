"""The lives of the model versions as they are shown: gates, reviews, whether a reviewer may decide, and who became champion when."""

from collections.abc import Iterable, Mapping, Sequence

from dashboard.status import Champion, Passage, Review, Versions, VersionShown
from storage.events import Event, GateResult, ModelEvaluated, ModelPromoted, ModelRolledBack, ReviewDecided
from streams import versions as life

AWAITING = "awaiting review"


def shown_versions(lives: life.Versions, events: Sequence[Event], simulated: Mapping[str, bool]) -> Versions:
    """The fold and the events it was folded from, newest challenger first.

    Parameters
    ----------
    simulated : by run_id, whether the run learnt from simulated people
    """
    evaluated = [event for event in events if isinstance(event, ModelEvaluated) and event.version in lives.versions]
    reviews = [event for event in events if isinstance(event, ReviewDecided)]
    listed = {event.version: _shown(event, lives, reviews, simulated.get(str(event.run_id), False)) for event in evaluated}
    return Versions(champion=lives.champion, previous=lives.previous, versions=tuple(reversed(listed.values())), history=tuple(_passages(events))[::-1])


def champion(lives: life.Versions, events: Iterable[Event]) -> Champion:
    """The champion, and since when it serves."""
    since = None
    for event in events:
        if isinstance(event, ModelPromoted | ModelRolledBack):
            since = event.occurred_at
    return Champion(version=lives.champion, since=since, policy=lives.champion_policy, previous=lives.previous)


def obstacles(status: str, gates: Iterable[GateResult]) -> list[str]:
    """Why a reviewer may not decide about a version of this status; empty where one may."""
    reasons = [f"{gate.name}: {gate.words}" for gate in gates if gate.verdict == "failed"]
    reasons += [f"{gate.name}: too little evidence. {gate.words}" for gate in gates if gate.verdict == "insufficient"]
    if not reasons and status != AWAITING:
        reasons = [f"The version is {status}; only a version that awaits review can be approved or rejected."]
    return reasons


def _shown(event: ModelEvaluated, lives: life.Versions, reviews: Sequence[ReviewDecided], simulated: bool) -> VersionShown:
    status = lives.versions[event.version].status
    reasons = obstacles(status, event.gates)
    return VersionShown(
        version=event.version,
        status=status,
        verdict=event.verdict,
        run_id=str(event.run_id),
        champion=event.champion,
        evaluated_at=event.occurred_at,
        gates=event.gates,
        report=event.report,
        policy=event.policy,
        reviews=tuple(
            Review(decision=each.decision, reviewer=each.reviewer, reason=each.reason, occurred_at=each.occurred_at) for each in reviews if each.version == event.version
        ),
        reviewable=not reasons,
        reasons=tuple(reasons),
        simulated=simulated,
    )


def _passages(events: Iterable[Event]) -> Iterable[Passage]:
    for event in events:
        match event:
            case ModelEvaluated():
                yield Passage(at=event.occurred_at, what=f"gates {event.verdict}", version=event.version, who=None, reason=None)
            case ReviewDecided():
                yield Passage(at=event.occurred_at, what=event.decision + ("d" if event.decision == "approve" else "ed"), version=event.version, who=event.reviewer, reason=event.reason)
            case ModelPromoted():
                yield Passage(at=event.occurred_at, what="became champion", version=event.version, who=None, reason=None)
            case ModelRolledBack():
                yield Passage(at=event.occurred_at, what="rolled back", version=event.version, who=event.reviewer, reason=event.reason)
