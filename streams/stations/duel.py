"""Decide duels: the hub's reaction to judgments of a challenger's replies against the champion's.

The coordinator calls :func:`next_event` after commits. The result is a function of the judgments in the warehouse, of the run's rule and of
the evaluation's date; readers check it again with the evidence that it puts into the artifact store.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from storage.artifacts import Artifacts
from storage.events import CanaryStarted, DuelDecided, Source, derived_id
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Warehouse
from streams.runs import MAX_CLOCK_SKEW
from streams.versions import Version, Versions, duelling
from trainers.audits.duel import DuelEvidence, DuelJudgment, DuelRule, Stage, assess, assess_canary


def duel_judgments(
    warehouse: Warehouse, version: Version, sources: Sequence[Source], texts: Texts, *, removed: bool = False
) -> tuple[DuelJudgment, ...]:
    """The judgments of the version's duel and canary so far, in order; with ``removed`` also those that no longer hold.

    ``texts`` opens the groups of candidates.
    """
    names = {"challenger": version.name, "champion": version.evaluated.champion}
    rows = warehouse.query("duel_judgments", names | {"sources": list(sources)}).to_pylist()
    return tuple(
        DuelJudgment(
            sequence=row["sequence"],
            recruiter=row["recruiter"],
            outcome=row["outcome"],
            live=row["live"],
            groups=texts.groups(row["groups"]),
        )
        for row in rows
        if removed or not row["removed"]
    )


def next_event(
    versions: Versions,
    warehouse: Warehouse,
    artifacts: Artifacts,
    texts: Texts,
    sources_of: Callable[[Version], Sequence[Source]],
    now: datetime,
) -> DuelDecided | CanaryStarted | None:
    """The next step of the version that is in its duel or canary, if one is due.

    Parameters
    ----------
    sources_of : the sources of judgments that count, as the version's run names them
    """
    for each in versions.versions.values():
        if each.status in ("duel", "canary") and (reason := _expired(versions, each, now)):
            return _decided(each, "expired", each.decided[-1].through_sequence if each.decided else 0, None, reason)
    won = next((each for each in versions.versions.values() if each.status == "approved" and not each.through), None)
    version = won or duelling(versions)
    if version is None or version.terms.duel is None:
        return None
    rule = version.terms.duel
    judgments = duel_judgments(warehouse, version, sources_of(version), texts)
    if version.status == "approved":  # it has won its duel, and its canary has not begun
        return _canary(version, rule, 0, version.decided[-1].through_sequence, version.decided[-1].evidence or "")
    if version.status == "duel":
        state = assess(judgments, rule)
        if state.outcome is None:
            return None
        evidence = _stored(version, judgments, state.through_sequence, artifacts)
        return _decided(version, state.outcome, state.through_sequence, evidence, state.words)
    step = len(version.canary) - 1
    outcome, through, words = assess_canary(judgments, rule, step)
    if outcome is None:
        return None
    evidence = _stored(version, judgments, through, artifacts)
    if outcome == "better" and step + 1 < len(rule.canary):
        return _canary(version, rule, step + 1, through, evidence)
    return _decided(version, outcome, through, evidence, words)


def _expired(versions: Versions, version: Version, now: datetime) -> str | None:
    """Why the version's offline evidence no longer holds; None while it does."""
    if version.evaluated.champion != versions.champion:
        return f"It was judged against {version.evaluated.champion}; {versions.champion} is champion now."
    dated = version.evaluated.occurred_at
    if dated - now > MAX_CLOCK_SKEW:  # its age is unknown: in doubt the champion stays
        clocks = f"dated {dated:%Y-%m-%d %H:%M} UTC, after the hub's time, {now:%Y-%m-%d %H:%M}"
        return f"Its evaluation is {clocks}; check the clocks of both machines."
    days = version.terms.duel.expires_days if version.terms.duel is not None else 0
    if now - dated > timedelta(days=days):
        return f"Its evaluation is older than {days:g} days and the duel is undecided."
    return None


def _stored(version: Version, judgments: Sequence[DuelJudgment], through: int, artifacts: Artifacts) -> str:
    evidence = DuelEvidence(
        version=version.name,
        champion=version.evaluated.champion,
        settings=version.terms.settings,
        judgments=tuple(each for each in judgments if each.sequence <= through),
    )
    return artifacts.put_bytes(evidence.model_dump_json().encode())


def _decided(version: Version, outcome: str, through: int, evidence: str | None, words: str) -> DuelDecided:
    stage: Stage = "canary" if version.status == "canary" else "duel"
    return DuelDecided.model_validate(
        {
            "event_id": derived_id("DuelDecided", version.review.event_id, stage),
            "source": version.review.source,
            "version": version.name,
            "review": version.review.event_id,
            "champion": version.evaluated.champion,
            "stage": stage,
            "outcome": outcome,
            "through_sequence": through,
            "evidence": evidence,
            "words": words,
        }
    )


def _canary(version: Version, rule: DuelRule, step: int, through: int, evidence: str) -> CanaryStarted:
    return CanaryStarted(
        event_id=derived_id("CanaryStarted", version.review.event_id, step),
        source=version.review.source,
        version=version.name,
        review=version.review.event_id,
        step=step,
        share=rule.canary[step],
        through_sequence=through,
        evidence=evidence,
    )
