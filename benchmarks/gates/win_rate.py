"""How often does the win rate's gate err? Synthetic panels with a known preference, through the real estimate, gate and spending rule.

Each panel has 8 to 12 recruiters with a shared and an own taste for four attributes of a reply and for traits that no attribute names. They
answer with their own scale, cut points and pull of the side shown first; they lapse, and one in six clicks at random. Replies are features
whose spectrum is that of judged replies under the shipped whitening: a few strong directions and a long tail. The truth is the mean over
recruiters of the chance that they answer in favour of the challenger, ties half, no side first, on 20,000 fresh prompts.

A full run takes about 25 minutes of one core.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from benchmarks.figures import Figure
from storage.events import GateResult, ModelEvaluated, ModelPromoted, ReviewDecided, derived_id
from streams.versions import NO_TERMS, Checks, Versions, step, version_name
from trainers.audits.policy.win_rate import WinRate, WinRateLimits, gate, spent_alpha, win_rate
from trainers.audits.simulation.challengers import Challenger, that_wins
from trainers.audits.simulation.panels import Panel, replies
from trainers.reward.panel import Judged, PanelSettings

T = TypeVar("T")

FIRST_SEED = 10_000  # those below 1,000 are for development
ALPHA = 0.05
PROMPTS, DRAWS = 800, 200


def evaluate(
    rng: np.random.Generator, panel: Panel, challenger: Challenger, before: int, *, swapped: bool = False, alpha: float = ALPHA
) -> WinRate:
    """The real estimate, from 120 to 200 judgments; ``swapped`` exchanges challenger and champion."""
    judged = panel.judge(rng, int(rng.integers(120, 201)))
    ours, theirs = challenger.replies(rng, PROMPTS), replies(rng, PROMPTS)
    if swapped:
        ours, theirs = theirs, ours
    return _estimate(judged, ours, theirs, before, alpha)


def _estimate(judged: Judged, ours: np.ndarray, theirs: np.ndarray, before: int, alpha: float = ALPHA) -> WinRate:
    return win_rate(
        judged, ours, theirs, np.zeros(PROMPTS),
        challengers_before=before, alpha=alpha, draws=DRAWS, panel=PanelSettings(), seed=0,
    )  # fmt: skip


def covers(seed: int) -> tuple[bool, float]:
    """Whether the 95% interval of a challenger holds its true win rate, and that rate."""
    rng = np.random.default_rng(seed)
    panel = Panel.draw(rng, shared=1.0, own=0.3)
    challenger = Challenger.draw(rng, panel, rng.uniform(-1, 1))
    found = evaluate(rng, panel, challenger, 0, alpha=0.05 / spent_alpha(1.0, 1))  # a 95% interval
    truth = challenger.truth(rng, panel)
    return found.rate.low <= truth <= found.rate.high, truth


def null_verdict(seed: int, own: float) -> str:
    """The gate's verdict on a challenger whose true panel win rate is at most one half; no taste is shared."""
    rng = np.random.default_rng(seed)
    panel = Panel.draw(rng, shared=0.0, own=own)
    challenger = Challenger.draw(rng, panel, rng.uniform(-1, 1))
    better = own > 0 and challenger.truth(rng, panel) > 0.5  # without tastes every win rate is one half
    return gate(evaluate(rng, panel, challenger, 0, swapped=better), WinRateLimits()).verdict


def admitted_within(attempts: int, seed: int) -> bool:
    """Whether one of ``attempts`` null challengers in a row passes against one champion, while the panel goes on judging.

    No taste is shared and no recruiter has one, so that every true win rate is one half. Insufficient verdicts spend no error rate.
    """
    rng = np.random.default_rng(seed)
    panel = Panel.draw(rng, shared=0.0, own=0.0)
    judged, before = panel.judge(rng, 240), 0
    for k in range(attempts):
        challenger = Challenger.draw(rng, panel, rng.uniform(-1, 1))
        seen = judged.at(np.arange(120 + 30 * k))
        found = _estimate(seen, challenger.replies(rng, PROMPTS), replies(rng, PROMPTS), before)
        verdict = gate(found, WinRateLimits()).verdict
        if verdict == "passed":
            return True
        before += verdict != "insufficient"
    return False


def last_in_a_row(seed: int, rate: float = 0.70, challengers: int = 20, *, all_of_them: bool = False) -> str:
    """The gate's verdict on the last of so many challengers in a row that win ``rate``; one that passes is approved and becomes champion.

    The verdicts before count only by how many there were since the last champion. A challenger that passes even if all before it had failed
    passes in any case, and after it the count starts again, so the series starts behind the last one of these. ``all_of_them`` starts
    with the first challenger instead, and gives the same verdict.
    """
    panel, challenger = that_wins(np.random.default_rng(seed), rate)

    def result(k: int, before: int) -> GateResult:
        return gate(evaluate(np.random.default_rng([seed, k]), panel, challenger, before), WinRateLimits())

    first = 0 if all_of_them else next((k + 1 for k in reversed(range(challengers - 1)) if result(k, k).verdict == "passed"), 0)
    versions, verdict = Versions(), ""
    for k in range(first, challengers):
        found = result(k, versions.verdicts_against(versions.champion))
        verdict, versions = found.verdict, _folded(versions, found, f"{seed:064x}"[:60] + f"{k:04x}")
    return verdict


CHECKS = Checks(evaluation=lambda event: None, terms=lambda event: NO_TERMS, evidence=lambda event, version: None)


def _folded(versions: Versions, result: GateResult, policy: str) -> Versions:
    """The state after this verdict, and after approval and promotion if it passed."""
    version = version_name(policy[::-1])
    evaluated = ModelEvaluated(
        source="simulation",
        version=version,
        run_id=derived_id("run", policy),
        policy=policy[::-1],
        report=policy,
        champion=versions.champion,
        gates=(result,),
        verdict=result.verdict,
    )
    after = step(versions, evaluated, CHECKS)
    if result.verdict == "passed":
        review = ReviewDecided(source="simulation", version=version, decision="approve", reviewer="simulated", reason="it passed")
        after = step(after, review, CHECKS)
        after = step(after, ModelPromoted(source="simulation", version=version, review=review.event_id), CHECKS)
        assert after.champion == version
    return after


def figures(quick: bool) -> list[Figure]:
    """Coverage, false passes and the twentieth challenger."""
    few = 25 if quick else 1
    covered = _over(covers, 500 // few)
    null = _over(partial(null_verdict, own=0.0), 1_000 // few)
    panel_null = _over(partial(null_verdict, own=1.0), 1_000 // few)
    admitted = _over(partial(admitted_within, 5), 250 // few)
    last = _over(last_in_a_row, 200 // few)
    return [
        _share("win_rate_coverage", [inside for inside, _ in covered], ">=0.93"),
        _share("win_rate_coverage_at_most", [inside for inside, _ in covered], "<=0.97"),
        _share("null_pass", [verdict == "passed" for verdict in null], "<=0.05"),
        _share("null_insufficient", [verdict == "insufficient" for verdict in null]),
        _share("null_admitted_within_five", admitted),
        _share("panel_null_pass", [verdict == "passed" for verdict in panel_null], "<=0.05"),
        _share("panel_null_insufficient", [verdict == "insufficient" for verdict in panel_null]),
        _share("twentieth_passes", [verdict == "passed" for verdict in last], ">=0.8"),
    ]


def _over(measure: Callable[[int], T], count: int) -> list[T]:
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), initializer=_one_thread) as pool:
        return pool.map(measure, seeds, chunksize=4)


def _one_thread() -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _share(name: str, hits: Sequence[bool], reach: str = "") -> Figure:
    """The share of hits with its Clopper-Pearson interval."""
    from scipy.stats import binomtest

    interval = binomtest(sum(hits), len(hits)).proportion_ci(0.95)
    return Figure(name, sum(hits) / len(hits), interval.low, interval.high, f"of {len(hits)}", reach)
