"""What a simulation says: how often each kind of challenger passes, wins and is stopped, and what a decision costs.

Shares have the exact interval of Clopper and Pearson (1934), medians the distribution-free one of order statistics (David and Nagaraja,
2003, "Order Statistics", section 7.1), both at 95%. The duels of one challenger have its panel in common; all duels of a kind have exactly
the same true win rate.
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Verdict
from trainers.audits.duel import DuelRule
from trainers.audits.simulation.duels import Ended, fixed_n
from trainers.audits.simulation.kinds import GROUP_SHARE, Kind
from trainers.audits.simulation.runs import Challenged, Run, SimulatedLimits
from trainers.audits.statistics.intervals import Interval, exact_share

ONE_SIDE = 0.975  # of a two-sided 95% interval
VERDICTS: tuple[Verdict, ...] = ("passed", "failed", "insufficient")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DuelShares(_Part):
    """How duels end, as shares of all that begin, and after how many judgments.

    Attributes
    ----------
    won, harm, futile, undecided : outcomes; a duel is undecided if its budget was not used up, because too few recruiters judge
    judgments : median of the duels that were won; None if none was
    quartiles : of the same
    judgments_all : median of all duels
    fixed_n : judgments of a test of fixed size with the same error rate and power .8; None unless the win rate is above one half
    """

    won: Interval
    harm: Interval
    futile: Interval
    undecided: Interval
    judgments: Interval | None
    quartiles: tuple[float, float] | None
    judgments_all: Interval
    fixed_n: int | None


class KindResult(_Part):
    """What happened to one kind of challenger.

    Attributes
    ----------
    win_rate, group_win_rate : true, in all and among the candidates of the group
    wanted : whether it should become champion
    is_plain : whether only its win rate tells it from the champion
    admitted : passed every simulated gate
    gates : verdicts of each gate
    promoted : admitted and won; the interval is the product of two of 97.5%, because the two stages have independent evidence
    harm, futile, undecided : admitted, and so ended, with the same kind of interval
    """

    name: str
    words: str
    win_rate: float
    group_win_rate: float
    wanted: bool
    is_plain: bool
    admitted: Interval
    gates: dict[str, dict[Verdict, int]]
    duel: DuelShares
    promoted: Interval
    harm: Interval
    futile: Interval
    undecided: Interval


class Point(_Part):
    """Duels at a true win rate."""

    win_rate: float
    duel: DuelShares


class Summary(_Part):
    """The four figures to choose limits by, each by kind of challenger.

    Attributes
    ----------
    false_promotion : promoted although not better, or careless
    missed_improvement : not promoted although better
    missed_bias : promoted although biased against a group
    judgments_needed : in the duels that were won; kinds that never won one are left out
    """

    false_promotion: dict[str, Interval]
    missed_improvement: dict[str, Interval]
    missed_bias: dict[str, Interval]
    judgments_needed: dict[str, Interval]


class Simulation(_Part):
    """The result of ``feedbackloop gates simulate``."""

    seed: int
    runs: int
    bias: float
    group_share: float = GROUP_SHARE
    limits: SimulatedLimits
    kinds: tuple[KindResult, ...] = Field(min_length=1)
    curve: tuple[Point, ...]
    summary: Summary


def summarised(found: Run, rows: Sequence[Kind], limits: SimulatedLimits, *, runs: int, seed: int, bias: float) -> Simulation:
    """The shares and medians of a run."""
    results = tuple(_of_kind(kind, found.challenged[kind.name], limits.duel) for kind in rows)
    biased = {kind.name for kind in rows if kind.bias}
    return Simulation(
        seed=seed,
        runs=runs,
        bias=bias,
        limits=limits,
        kinds=results,
        curve=tuple(Point(win_rate=rate, duel=_of_duels(ended, limits.duel, rate)) for rate, ended in found.curve.items()),
        summary=Summary(
            false_promotion={each.name: each.promoted for each in results if not each.wanted and each.name not in biased},
            missed_improvement={each.name: _complement(each.promoted) for each in results if each.wanted},
            missed_bias={each.name: each.promoted for each in results if each.name in biased},
            judgments_needed={each.name: each.duel.judgments for each in results if each.wanted and each.duel.judgments},
        ),
    )


def _of_kind(kind: Kind, challenged: Sequence[Challenged], rule: DuelRule) -> KindResult:
    names = [result.name for result in challenged[0].gates]
    verdicts = {name: [result.verdict for each in challenged for result in each.gates if result.name == name] for name in names}
    admitted = sum(each.admitted for each in challenged)
    ended = [one for each in challenged for one in each.duels]

    def both(outcome: str | None) -> Interval:
        gates = exact_share(admitted, len(challenged), (1 + ONE_SIDE) / 2)
        duels = exact_share(sum(each.outcome == outcome for each in ended), len(ended), (1 + ONE_SIDE) / 2)
        return Interval(figure=gates.figure * duels.figure, low=gates.low * duels.low, high=gates.high * duels.high, n=len(challenged))

    return KindResult(
        name=kind.name,
        words=kind.words,
        win_rate=kind.win_rate,
        group_win_rate=kind.group_win_rates()[0],
        wanted=kind.wanted,
        is_plain=kind.is_plain,
        admitted=exact_share(admitted, len(challenged), ONE_SIDE),
        gates={name: {verdict: found.count(verdict) for verdict in VERDICTS} for name, found in verdicts.items()},
        duel=_of_duels(ended, rule, kind.win_rate),
        promoted=both("better"),
        harm=both("harm"),
        futile=both("futile"),
        undecided=both(None),
    )


def _of_duels(ended: Sequence[Ended], rule: DuelRule, win_rate: float) -> DuelShares:
    won = [each.judgments for each in ended if each.outcome == "better"]

    def share(outcome: str | None) -> Interval:
        return exact_share(sum(each.outcome == outcome for each in ended), len(ended), ONE_SIDE)

    return DuelShares(
        won=share("better"),
        harm=share("harm"),
        futile=share("futile"),
        undecided=share(None),
        judgments=median_interval(won, ONE_SIDE, rule.budget) if won else None,
        quartiles=_quartiles(won) if won else None,
        judgments_all=median_interval([each.judgments for each in ended], ONE_SIDE, rule.budget),
        fixed_n=fixed_n(win_rate, rule.alpha) if win_rate > 0.5 else None,
    )


def median_interval(values: Sequence[float], confidence: float, largest: float) -> Interval:
    """The median with one-sided bounds at ``confidence`` each, from the ranks at which a binomial of one half has these quantiles.

    Too few values for a rank that is far enough out give 0 and ``largest``.
    """
    import numpy as np
    from scipy.stats import binom

    ordered, n = sorted(values), len(values)
    rank = int(binom.ppf(1 - confidence, n, 0.5))
    low, high = (ordered[rank - 1], ordered[n - rank]) if rank else (0.0, largest)
    return Interval(figure=float(np.median(ordered)), low=float(low), high=float(high), n=n)


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(values, [0.25, 0.75]).tolist()
    return low, high


def _complement(share: Interval) -> Interval:
    return Interval(figure=1 - share.figure, low=1 - share.high, high=1 - share.low, n=share.n)
