"""The duel as the pages show it: the one that is going on, or else the last one."""

from collections.abc import Sequence

from dashboard.status.models import DuelShown, Ending
from storage.events import Source
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Warehouse
from streams.stations.duel import duel_judgments
from streams.versions import Version, Versions, duelling
from trainers.audits.duel import DuelRule, assess, assess_canary, wealth_path

POINTS = 300  # of the wealth's curve


def shown_duel(folded: Versions, warehouse: Warehouse, texts: Texts, sources: dict[str, tuple[Source, ...]]) -> DuelShown | None:
    """The current duel, or the last one that was begun; None if there was none.

    Parameters
    ----------
    sources : by run_id, the sources of judgments that count
    """
    version = duelling(folded) or _last(folded)
    if version is None or version.terms.duel is None:
        return None
    return _shown(version, version.terms.duel, warehouse, texts, sources.get(str(version.evaluated.run_id), ()))


def _last(folded: Versions) -> Version | None:
    begun = [each for each in folded.versions.values() if any(review.decision == "approve" for review in each.reviews)]
    return max(begun, key=lambda each: each.reviews[0].occurred_at, default=None)


def _shown(version: Version, rule: DuelRule, warehouse: Warehouse, texts: Texts, sources: Sequence[Source]) -> DuelShown:
    judgments = duel_judgments(warehouse, version, sources, texts)
    ended = next((each for each in version.decided if each.stage == "duel"), None)
    of_duel = judgments if ended is None else tuple(each for each in judgments if each.sequence <= ended.through_sequence)
    wealth = wealth_path(of_duel, rule)
    every = max(1, len(wealth) // POINTS)
    kept = [i for i in range(len(wealth)) if i % every == 0 or i == len(wealth) - 1]
    canary = assess_canary(judgments, rule, len(version.canary) - 1)[2] if version.status == "canary" else None
    return DuelShown(
        version=version.name,
        champion=version.evaluated.champion,
        status=version.status,
        rule=rule,
        state=assess(of_duel, rule),
        judgments=tuple(i + 1 for i in kept),
        wealth=tuple(wealth[i] for i in kept),
        share=version.canary[-1].share if version.status == "canary" else 0.0,
        canary=canary,
        endings=tuple(
            Ending(stage=each.stage, outcome=each.outcome, words=each.words, at=each.occurred_at, evidence=each.evidence)
            for each in version.decided
        ),
    )
