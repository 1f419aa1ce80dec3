"""The lives of the model versions as they are shown: gates, reviews, what a reviewer may decide, and who became champion when."""

from collections.abc import Iterator, Mapping, Sequence

from dashboard.status.models import Champion, Passage, Review, Versions, VersionShown
from storage.events import Event, GateResult, ModelEvaluated, ModelPromoted, ModelRolledBack, ReviewDecided
from streams import versions as life

PROMOTED = "became champion"
SHOWN = 100  # versions, the newest and those that matter now; pages send what they hold back to the server
PASSAGES = 300


def shown_versions(lives: life.Versions, events: Sequence[Event], simulated: Mapping[str, bool]) -> Versions:
    """The fold, newest challenger first, and the events that it was folded from as a history.

    Parameters
    ----------
    simulated : by run_id, whether the run learnt from simulated people
    """
    matter = {lives.champion, lives.previous}
    oldest = len(lives.versions) - SHOWN
    listed = [
        _shown(version, lives, simulated.get(str(version.evaluated.run_id), False))
        for place, version in enumerate(lives.versions.values())
        if place >= oldest or version.name in matter or version.status == "awaiting review"
    ]
    objections = {each.event.event_id: each.reason for each in lives.illegal}
    return Versions(
        champion=lives.champion,
        previous=lives.previous,
        versions=tuple(reversed(listed)),
        history=tuple(_passage(event, objections.get(event.event_id)) for event in list(_distinct(events))[-PASSAGES:])[::-1],
    )


def promotions(lives: life.Versions, events: Sequence[Event]) -> int:
    """How often a version became champion."""
    refused = {each.event.event_id for each in lives.illegal}
    return sum(isinstance(event, ModelPromoted) and event.event_id not in refused for event in _distinct(events))


def champion(lives: life.Versions, events: Sequence[Event], serving: str | None) -> Champion:
    """The champion, since when it is one, and which version serves candidates."""
    refused = {each.event.event_id for each in lives.illegal}
    changes = [
        event.occurred_at for event in events if isinstance(event, ModelPromoted | ModelRolledBack) and event.event_id not in refused
    ]
    return Champion(
        version=lives.champion,
        since=changes[-1] if changes else None,
        policy=lives.champion_policy,
        previous=lives.previous,
        serving=serving,
    )


def obstacles(version: life.Version, lives: life.Versions) -> tuple[str, ...]:
    """Why the version cannot be approved; empty where it can."""
    gates = tuple(_obstacle(gate) for gate in version.evaluated.gates if gate.verdict != "passed")
    if gates:
        return gates
    reason = life.legal_review(lives, version.name, "approve")
    return (reason,) if reason else ()


def _obstacle(gate: GateResult) -> str:
    return f"{gate.name}: {'too little evidence. ' if gate.verdict == 'insufficient' else ''}{gate.words}"


def _shown(version: life.Version, lives: life.Versions, simulated: bool) -> VersionShown:
    event = version.evaluated
    return VersionShown(
        version=event.version,
        status=version.status,
        verdict=event.verdict,
        run_id=str(event.run_id),
        champion=event.champion,
        evaluated_at=event.occurred_at,
        gates=event.gates,
        report=event.report,
        policy=event.policy,
        reviews=tuple(
            Review(decision=each.decision, reviewer=each.reviewer, reason=each.reason, occurred_at=each.occurred_at)
            for each in version.reviews
        ),
        reviewable=life.legal_review(lives, event.version, "reject") is None,
        approvable=life.legal_review(lives, event.version, "approve") is None,
        reasons=obstacles(version, lives),
        simulated=simulated,
    )


def _distinct(events: Sequence[Event]) -> Iterator[Event]:
    seen = set()
    for event in events:
        if event.event_id not in seen:
            seen.add(event.event_id)
            yield event


def _passage(event: Event, objection: str | None) -> Passage:
    match event:
        case ModelEvaluated():
            what, who, reason = (
                {"passed": "passed its gates", "failed": "failed a gate", "insufficient": "lacked evidence"}[event.verdict],
                None,
                None,
            )
        case ReviewDecided():
            what, who, reason = {"approve": "approved", "reject": "rejected"}[event.decision], event.reviewer, event.reason
        case ModelPromoted():
            what, who, reason = PROMOTED, None, None
        case ModelRolledBack():
            what, who, reason = "rolled back", event.reviewer, event.reason
        case _:
            raise TypeError(f"{event.kind} is no step in the life of a version")
    if objection:
        what, reason = f"changed nothing: {what}", objection
    return Passage(at=event.occurred_at, what=what, version=event.version, who=who, reason=reason, legal=objection is None)
