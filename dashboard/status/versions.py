"""The model versions as the pages show them: gates, reviews, what a reviewer may decide, and the history of champions."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from access.caller import is_person
from dashboard.status.models import Champion, HistoryEntry, Review, Versions, VersionShown
from storage.events import (
    CanaryStarted,
    DuelDecided,
    Event,
    GateResult,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    ReviewDecided,
)
from streams import versions as life

PROMOTED = "became champion"
MAX_VERSIONS = 100  # the newest, besides current ones; pages send the data they hold back to the server
MAX_HISTORY = 300


def shown_versions(
    folded: life.Versions, events: Sequence[Event], simulated: Mapping[str, bool], name_of: Callable[[str], str] = lambda who: who
) -> Versions:
    """The folded versions, newest challenger first, and their events as a history.

    Parameters
    ----------
    simulated : by run_id, whether the run learnt from simulated people
    name_of : the name of a person, by their id
    """
    current = {folded.champion, folded.previous}
    oldest = len(folded.versions) - MAX_VERSIONS
    listed = [
        _shown(version, folded, simulated.get(str(version.evaluated.run_id), False), name_of)
        for position, version in enumerate(folded.versions.values())
        if position >= oldest or version.name in current or version.status in life.OPEN
    ]
    objections = {each.event.event_id: each.reason for each in folded.illegal}
    return Versions(
        champion=folded.champion,
        previous=folded.previous,
        versions=tuple(reversed(listed)),
        history=tuple(_history_entry(event, objections.get(event.event_id), name_of) for event in list(_distinct(events))[-MAX_HISTORY:])[
            ::-1
        ],
    )


def promotions(folded: life.Versions, events: Sequence[Event]) -> int:
    """How often a version became champion."""
    refused = {each.event.event_id for each in folded.illegal}
    return sum(isinstance(event, ModelPromoted) and event.event_id not in refused for event in _distinct(events))


def champion(folded: life.Versions, events: Sequence[Event], serving: str | None) -> Champion:
    """The champion, since when, and which version serves candidates."""
    refused = {each.event.event_id for each in folded.illegal}
    changes = [
        event.occurred_at for event in events if isinstance(event, ModelPromoted | ModelRolledBack) and event.event_id not in refused
    ]
    return Champion(
        version=folded.champion,
        since=changes[-1] if changes else None,
        policy=folded.champion_policy,
        previous=folded.previous,
        serving=serving,
    )


def obstacles(version: life.Version, folded: life.Versions) -> tuple[str, ...]:
    """Why the version cannot be approved; empty if it can."""
    gates = tuple(_obstacle(gate) for gate in version.evaluated.gates if gate.verdict != "passed")
    if gates:
        return gates
    reason = life.legal_review(folded, version.name, "approve")
    return (reason,) if reason else ()


def _obstacle(gate: GateResult) -> str:
    return f"{gate.name}: {'too little evidence. ' if gate.verdict == 'insufficient' else ''}{gate.words}"


def _shown(version: life.Version, folded: life.Versions, simulated: bool, name_of: Callable[[str], str]) -> VersionShown:
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
            Review(
                decision=each.decision,
                reviewer=name_of(each.reviewer),
                verified=is_person(each.reviewer),
                reason=each.reason,
                occurred_at=each.occurred_at,
            )
            for each in version.reviews
        ),
        reviewable=version.status == "awaiting review",
        approvable=life.legal_review(folded, event.version, "approve") is None,
        reasons=obstacles(version, folded),
        duel=version.terms.duel is not None,
        withdrawable=version.status in ("duel", "canary"),
        simulated=simulated,
    )


def _distinct(events: Sequence[Event]) -> Iterator[Event]:
    seen = set()
    for event in events:
        if event.event_id not in seen:
            seen.add(event.event_id)
            yield event


def _history_entry(event: Event, objection: str | None, name_of: Callable[[str], str]) -> HistoryEntry:
    match event:
        case ModelEvaluated():
            what, who, reason = (
                {"passed": "passed its gates", "failed": "failed a gate", "insufficient": "lacked evidence"}[event.verdict],
                None,
                None,
            )
        case ReviewDecided():
            what, who, reason = {"approve": "approved", "reject": "rejected"}[event.decision], event.reviewer, event.reason
        case DuelDecided():
            what, who, reason = f"{event.stage}: {event.outcome}", None, event.words
        case CanaryStarted():
            what, who, reason = f"canary: answers {event.share:.0%} of conversations", None, None
        case ModelPromoted():
            what, who, reason = PROMOTED, None, None
        case ModelRolledBack():
            what, who, reason = "rolled back", event.reviewer, event.reason
        case _:
            raise TypeError(f"{event.kind} is not an event of a version's life")
    if objection:
        what, reason = f"changed nothing: {what}", objection
    decided = event.stage if isinstance(event, DuelDecided) and event.evidence is not None else None
    return HistoryEntry(
        at=event.occurred_at,
        what=what,
        version=event.version,
        who=None if who is None else name_of(who),
        verified=who is not None and is_person(who),
        reason=reason,
        legal=objection is None,
        attested=event.record is not None if isinstance(event, ModelPromoted) and not objection else None,
        evidence=None if objection else decided,
    )
