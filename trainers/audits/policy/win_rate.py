"""How often would this panel's recruiters choose the challenger's reply over the champion's?

The estimand is the mean over prompts and recruiters, each recruiter weighing the same, of P(challenger preferred) + ½·P(tie), with no side
shown first. It is the share of answers that the challenger would win, not the share of prompts on which its reply scores higher: where
recruiters are nearly indifferent, a reply that always scores a little higher wins little more than half of the answers. It is
estimated from judgments never used in training.

The claim is about the recruiters who judged. A second, wider interval treats them as a sample of all recruiters.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from storage.events import GateResult
from trainers.audits.audit import Audit, Count, Finding, Limits, Needs, Rows, Share, result
from trainers.audits.statistics.intervals import Interval, logit_draws_interval, other_recruiters_interval

if TYPE_CHECKING:
    from trainers.audits.trial import Trial
    from trainers.reward.panel import Judged, Panel, PanelSettings


class WinRateLimits(Limits):
    """``least`` is the minimum win rate; the whole interval has to lie above ``above``.

    The head counts only if the interval of its cross-validated slope lies above ``least_slope``; 0 is a coin.
    """

    least: Share = 0.55
    above: Share = 0.50
    min_prompts: Count = 800
    min_judgments: Count = 120
    min_recruiters: Count = 8
    least_slope: float = 0.0


class WinRate(Finding):
    """The challenger's win rate with its interval, the sample sizes and related figures.

    ``rate`` is of this panel; ``others`` has the same figure and an interval for other recruiters. ``by_recruiter`` are the win rates of
    single recruiters, pulled towards each other where they have judged little. ``slope`` is the cross-validated slope of the head (1 is
    right, 0 is a coin); it scales the head if its interval excludes 1, and ``scaled`` says so. ``length_controlled`` is the rate at
    equal length, ``equal_length`` the same with its interval. Reports of earlier versions have no ``equal_length``, ``others``,
    ``by_recruiter`` and ``slope``, and their ``rate`` was a share of prompts; only they have ``outside`` and ``null``.
    """

    rate: Interval
    alpha: float
    prompts: int
    judgments: int
    recruiters: int
    length_controlled: float
    equal_length: Interval | None = None
    others: Interval | None = None
    by_recruiter: dict[str, float] = Field(default_factory=dict)
    slope: Interval | None = None
    scaled: bool = False
    outside: tuple[float, float] | None = None
    null: float | None = None

    def beats(self, slope: float) -> bool:
        """Whether the head predicts judgments that it has not seen with more than this slope."""
        return self.slope is None or self.slope.low > slope


def measure(trial: "Trial") -> WinRate:
    """The win rate under the panel's tastes as fitted on the evaluation stratum."""
    vectors, settings = trial.vectors, trial.settings
    texts = zip(trial.replies.challenger, trial.replies.champion, strict=True)
    return panel_win_rate(
        trial.panel,
        vectors.challenger,
        vectors.champion,
        np.array([np.log1p(len(a)) - np.log1p(len(b)) for a, b in texts]),
        challengers_before=trial.challengers_before,
        alpha=settings.alpha,
        draws=settings.resamples,
        seed=settings.seed,
    )


def gate(found: WinRate, limits: WinRateLimits) -> GateResult:
    """Pass when the win rate reaches ``limits.least`` and its whole interval lies above ``limits.above``.

    Fewer prompts, judgments or recruiters than the limits ask for give an *insufficient* result, which is not a pass; so does a head that
    cannot beat a coin on judgments that it has not seen.

    An insufficient verdict spends no error rate, although the last of these reasons depends on the data. So against one champion the chance
    that a challenger which is no better is admitted grows with the number of attempts; ``null_admitted_within_five`` of
    ``benchmarks.gates`` measures it for five attempts while the panel goes on judging.
    """
    rate = found.rate
    enough = found.prompts >= limits.min_prompts and found.judgments >= limits.min_judgments and found.recruiters >= limits.min_recruiters
    good = rate.figure >= limits.least and rate.low > limits.above
    measured = f"on {found.prompts} prompts, from {found.judgments} judgments of {found.recruiters} recruiters"
    if not enough:
        words = (
            f"Not enough evidence: measured {measured}; at least {limits.min_prompts} prompts, {limits.min_judgments} judgments and "
            f"{limits.min_recruiters} recruiters are needed."
        )
    elif not found.beats(limits.least_slope):
        words = f"The judgments do not say what recruiters prefer: {measured}, unseen ones are predicted no better than by a coin."
    else:
        words = (
            f"These recruiters would choose the new reply over the champion's in {rate.figure:.0%} of comparisons, ties counted half "
            f"({rate.low:.0%} to {rate.high:.0%}), estimated {measured}."
        )
        if found.others is not None:
            words += f" Other recruiters may differ ({found.others.low:.0%} to {found.others.high:.0%})."
    return result(
        AUDIT.name,
        "insufficient" if not enough or not found.beats(limits.least_slope) else "passed" if good else "failed",
        rate,
        limit=f"at least {limits.least:g}, and the whole interval above {limits.above:g}",
        unit="share",
        n=found.prompts,
        words=words,
    )


def needs(limits: WinRateLimits) -> Needs:
    """What the gate cannot do without, countable before a run starts."""
    return Needs(prompts=limits.min_prompts, judgments=limits.min_judgments, recruiters=limits.min_recruiters)


def rows(found: WinRate) -> Rows:
    shown = []
    if found.others is not None:
        shown.append(("Other recruiters may differ", f"{found.others.low:.1%} to {found.others.high:.1%}"))
    shown += [(f"Win rate with {name}", f"{rate:.1%}") for name, rate in sorted(found.by_recruiter.items(), key=lambda one: one[1])]
    if found.slope is not None:
        used = "used to scale the estimate" if found.scaled else "1 is right, 0 is a coin"
        shown.append(("Calibration slope", f"{found.slope.figure:.2f} ({found.slope.low:.2f} to {found.slope.high:.2f}); {used}"))
    bounds = "" if found.equal_length is None else f" ({found.equal_length.low:.1%} to {found.equal_length.high:.1%})"
    return [*shown, ("Win rate at equal length", f"{found.length_controlled:.1%}{bounds}")]


AUDIT = Audit("win_rate", "Is it preferred to the champion?", WinRateLimits, WinRate, measure, gate, rows, needs, topic="preference")


def win_rate(
    judged: "Judged",
    challenger: np.ndarray,
    champion: np.ndarray,
    log_lengths: np.ndarray,
    *,
    challengers_before: int,
    alpha: float,
    draws: int,
    panel: "PanelSettings",
    seed: int,
) -> WinRate:
    """Fit the panel to ``judged`` and judge the challenger's replies against the champion's, see :func:`panel_win_rate`."""
    from trainers.reward.panel import fit_panel

    return panel_win_rate(
        fit_panel(judged, panel),
        challenger,
        champion,
        log_lengths,
        challengers_before=challengers_before,
        alpha=alpha,
        draws=draws,
        seed=seed,
    )


def panel_win_rate(
    fitted: "Panel",
    challenger: np.ndarray,
    champion: np.ndarray,
    log_lengths: np.ndarray,
    *,
    challengers_before: int,
    alpha: float,
    draws: int,
    seed: int,
) -> WinRate:
    """Judge the challenger's replies against the champion's on the same prompts.

    Parameters
    ----------
    challenger, champion : features of their replies, ``(m, d)``
    log_lengths : log length of the challenger's reply minus that of the champion's, ``(m,)``
    challengers_before : number of challengers that were judged against the same champion before, with sufficient evidence
    draws : number of draws from the posterior
    """
    from trainers.reward.panel import scaled

    between = np.asarray(challenger - champion, float)
    calibrated, slope = scaled(fitted)
    rates, by_prompt = calibrated.towards(between).win_rates(between, draws, seed)
    spent = spent_alpha(alpha, challengers_before + 1)
    equal_length = length_controlled_interval(by_prompt, log_lengths, spent, seed)
    return WinRate(
        rate=logit_draws_interval(rates.mean(axis=1), spent, len(between)),
        alpha=spent,
        prompts=len(between),
        judgments=len(fitted.judged),
        recruiters=len(fitted.recruiters),
        length_controlled=equal_length.figure,
        equal_length=equal_length,
        others=other_recruiters_interval(rates, spent),
        by_recruiter=dict(zip(fitted.recruiters, rates.mean(axis=0).tolist(), strict=True)),
        slope=slope,
        scaled=calibrated is not fitted,
    )


def spent_alpha(alpha: float, k: int) -> float:
    """The error rate of the ``k``-th challenger against one champion, ``6 alpha / (pi² k²)``; over all k they sum to ``alpha``."""
    return 6 * alpha / (math.pi * k) ** 2


def length_controlled(wins: np.ndarray, log_lengths: np.ndarray) -> float:
    """The win rate at equal lengths, by a logistic regression of each prompt's win rate, ``(m,)``, on the difference of log lengths.

    After Dubois et al. (2024), "Length-Controlled AlpacaEval" (arXiv:2404.04475), with length as the only term.
    """
    return float(_at_equal_length(wins[None], log_lengths, np.ones((1, len(wins))))[0])


def length_controlled_interval(draws: np.ndarray, log_lengths: np.ndarray, alpha: float, seed: int) -> Interval:
    """:func:`length_controlled` of the mean of the judge's ``draws``, ``(draws, m)``, with its interval.

    Each draw weights the prompts anew (Rubin, 1981, "The Bayesian bootstrap"), so the interval has both what the judge does not know and
    which prompts there happened to be.
    """
    weights = np.random.default_rng(seed).standard_exponential(draws.shape)
    spread = _at_equal_length(draws, log_lengths, weights / weights.mean(axis=1, keepdims=True))
    found = logit_draws_interval(spread, alpha, len(log_lengths))
    return found.model_copy(update={"figure": length_controlled(draws.mean(axis=0), log_lengths)})


def _at_equal_length(wins: np.ndarray, log_lengths: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The fitted chances at equal lengths, ``(k,)``, of k regressions with ``wins`` and ``weights``, ``(k, m)``, by Newton's method."""
    from scipy.special import expit

    x = np.column_stack([np.ones(wins.shape[1]), np.tanh(log_lengths / (float(log_lengths.std()) or 1.0))])
    ridge = 1e-3  # bounds the intercept where one side always wins
    found = np.zeros((len(wins), 2))
    for _ in range(50):
        chance = expit(found @ x.T)
        information = np.einsum("km,mi,mj->kij", weights * chance * (1 - chance), x, x) + ridge * np.eye(2)
        step = np.linalg.solve(information, ((weights * (wins - chance)) @ x - ridge * found)[..., None])[..., 0]
        found += step
        if np.abs(step).max() < 1e-10:
            break
    return np.asarray(expit(found[:, 0]))
