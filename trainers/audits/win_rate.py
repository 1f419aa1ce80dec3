"""How often would recruiters prefer the challenger's reply to the champion's? Estimated by a head that is never used in training.

The head is fitted on judgments of the evaluation stratum alone and predicts the sign of the reward difference on each prompt. The interval
comes from refits on resampled recruiters and prompts. Such a head is weak and understates a true advantage.
"""

from typing import TYPE_CHECKING

import numpy as np

from storage.events import GateResult
from trainers.audits.audit import Audit, Count, Finding, Limits, Rows, Share
from trainers.audits.intervals import Interval, logit_interval

if TYPE_CHECKING:
    from trainers.audits.trial import Trial
    from trainers.reward.evaluation_head import EvaluationHeadSettings, Judged

TIE_TOLERANCE = 1e-9  # reward differences closer to zero than this are rounding


class WinRateLimits(Limits):
    """``least`` is the minimum win rate; the whole interval has to lie above ``above``."""

    least: Share = 0.55
    above: Share = 0.50
    min_prompts: Count = 800
    min_judgments: Count = 120
    min_recruiters: Count = 8


class WinRate(Finding):
    """The challenger's win rate with its interval, the sample sizes and related figures.

    ``length_controlled`` is the rate at equal length; ``null`` the champion's rate against a second sample of itself; ``outside`` the
    shares of the challenger's and the champion's replies that lie outside the support of the judged replies.
    """

    rate: Interval
    alpha: float
    prompts: int
    judgments: int
    recruiters: int
    length_controlled: float
    null: float | None
    outside: tuple[float, float]


def measure(trial: "Trial") -> WinRate:
    """The win rate under the head fitted on the evaluation stratum."""
    from trainers.reward.evaluation_head import EvaluationHeadSettings

    vectors, settings = trial.vectors, trial.settings
    texts = zip(trial.replies.challenger, trial.replies.champion, strict=True)
    return win_rate(
        trial.judged,
        vectors.challenger,
        vectors.champion,
        vectors.again,
        np.array([np.log1p(len(a)) - np.log1p(len(b)) for a, b in texts]),
        trial.judged_features,
        challengers_before=trial.challengers_before,
        alpha=settings.alpha,
        resamples=settings.resamples,
        head=EvaluationHeadSettings(head=trial.learning),
        seed=settings.seed,
    )


def gate(found: WinRate, limits: WinRateLimits) -> GateResult:
    """Pass when the win rate reaches ``limits.least`` and its whole interval lies above ``limits.above``.

    Fewer prompts, judgments or recruiters than the limits ask for give an *insufficient* result, which is not a pass.
    """
    rate = found.rate
    enough = found.prompts >= limits.min_prompts and found.judgments >= limits.min_judgments and found.recruiters >= limits.min_recruiters
    good = rate.figure >= limits.least and rate.low > limits.above
    measured = f"measured on {found.prompts} prompts with {found.judgments} judgments of {found.recruiters} recruiters"
    if not enough:
        words = (
            f"Not enough evidence: {measured}; at least {limits.min_prompts} prompts, {limits.min_judgments} judgments and "
            f"{limits.min_recruiters} recruiters are needed."
        )
    else:
        words = f"Recruiters would prefer the new replies in {rate.figure:.0%} of cases ({rate.low:.0%} to {rate.high:.0%}), {measured}."
    return GateResult(
        name=AUDIT.name,
        verdict="insufficient" if not enough else "passed" if good else "failed",
        figure=rate.figure,
        low=rate.low,
        high=rate.high,
        n=found.prompts,
        limit=f"at least {limits.least:g}, and the whole interval above {limits.above:g}",
        unit="share",
        words=words,
    )


def rows(found: WinRate) -> Rows:
    challenger, champion = found.outside
    return [
        ("Win rate at equal length", f"{found.length_controlled:.1%}"),
        ("Champion against itself", "–" if found.null is None else f"{found.null:.1%}"),
        ("Replies unlike any judged so far", f"{challenger:.1%}, champion {champion:.1%}"),
    ]


AUDIT = Audit("win_rate", "Is it preferred to the champion?", WinRateLimits, WinRate, measure, gate, rows)


def win_rate(
    judged: "Judged",
    challenger: np.ndarray,
    champion: np.ndarray,
    again: np.ndarray | None,
    log_lengths: np.ndarray,
    seen: np.ndarray,
    *,
    challengers_before: int,
    alpha: float,
    resamples: int,
    head: "EvaluationHeadSettings",
    seed: int,
) -> WinRate:
    """Judge the challenger's replies against the champion's on the same prompts.

    Parameters
    ----------
    challenger, champion : features of their replies, ``(m, d)``
    again : features of the champion's second sample on the first prompts, ``(k, d)`` with k <= m, or None
    log_lengths : log length of the challenger's reply minus that of the champion's, ``(m,)``
    seen : features of the replies that were judged, ``(n, d)``
    challengers_before : number of earlier verdicts; the k-th challenger spends ``alpha / k²``
    """
    from trainers.reward.evaluation_head import fit

    fitted = fit(judged, head)
    between = np.asarray(challenger - champion, float)
    differences = fitted.margins(between)

    rng = np.random.default_rng(seed)
    resampled = np.empty(resamples)
    units = 0
    for i in range(resamples):
        counts, units = _resample(judged, rng)
        prompts = rng.integers(len(between), size=len(between))
        resampled[i] = win_share(fit(judged, head, counts).margins(between)[prompts])
    spent = alpha / (challengers_before + 1) ** 2
    null = None
    if again is not None and len(again):
        null = win_share(fitted.margins(again - champion[: len(again)]))
    return WinRate(
        rate=logit_interval(win_share(differences), resampled, units, spent),
        alpha=spent,
        prompts=len(between),
        judgments=len(judged),
        recruiters=len(set(judged.recruiter)),
        length_controlled=length_controlled(differences, log_lengths),
        null=null,
        outside=(outside_support(challenger, seen), outside_support(champion, seen)),
    )


def win_share(differences: np.ndarray) -> float:
    """The mean of 1[difference > 0] + ½·1[difference = 0]."""
    return float(np.where(np.abs(differences) <= TIE_TOLERANCE, 0.5, differences > 0).mean())


def _resample(judged: "Judged", rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """The weight of each judgment in a resample, and the number of resampled clusters.

    Recruiters are drawn with all their judgments, which covers the variation between recruiters and within them. If the data names no
    recruiters, the judged prompts are drawn instead.
    """
    names, who = np.unique(judged.recruiter, return_inverse=True)
    if len(names) == 1:
        names, who = np.unique(judged.prompt, return_inverse=True)
    return np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[who].astype(float), len(names)


def length_controlled(differences: np.ndarray, log_lengths: np.ndarray) -> float:
    """The win rate that a logistic regression of winning on the difference of log lengths gives at equal lengths.

    After Dubois et al. (2024), "Length-Controlled AlpacaEval" (arXiv:2404.04475), with length as the only term.
    """
    from scipy.special import expit

    won = np.where(np.abs(differences) <= TIE_TOLERANCE, 0.5, differences > 0)
    scale = float(log_lengths.std()) or 1.0
    x = np.column_stack([np.ones(len(won)), np.tanh(log_lengths / scale)])
    weights = np.zeros(2)
    for _ in range(50):
        chance = expit(x @ weights)
        information = (x * (chance * (1 - chance))[:, None]).T @ x + 1e-3 * np.eye(2)  # the ridge bounds it where one side always wins
        step = np.linalg.solve(information, x.T @ (won - chance) - 1e-3 * weights)
        weights += step
        if np.abs(step).max() < 1e-10:
            break
    return float(expit(weights[0]))


def outside_support(features: np.ndarray, seen: np.ndarray) -> float:
    """The share of replies farther from every judged reply than 99 % of the judged replies are from each other's nearest.

    Zero rows are replies that were not embedded because both models gave them; they do not count.
    """
    features = features[np.any(features != 0, axis=1)]
    if len(seen) < 2 or not len(features):
        return 0.0
    among = _squared_distances(seen, seen)
    among[among <= 1e-12] = np.inf  # itself and its duplicates
    nearest = among.min(axis=1)
    limit = np.quantile(nearest[np.isfinite(nearest)], 0.99) if np.isfinite(nearest).any() else 0.0
    return float((_squared_distances(features, seen).min(axis=1) > limit).mean())


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = one.astype(float), other.astype(float)
    return np.asarray(np.maximum((one**2).sum(1)[:, None] + (other**2).sum(1)[None] - 2 * one @ other.T, 0))
