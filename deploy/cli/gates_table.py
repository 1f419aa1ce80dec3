"""Formats a simulation of the gates as tables."""

import io
from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from trainers.audits.duel import DuelRule
from trainers.audits.simulation.report import KindResult, Simulation
from trainers.audits.statistics.intervals import Interval

COLUMNS = ("challenger", "win rate", "admitted", "wins duel", "harm", "futile", "promoted", "judgments")


def as_text(found: Simulation) -> str:
    """One row for each kind of challenger, then the four figures to choose limits by."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if number else "left")
    for kind in found.kinds:
        table.add_row(*_cells(kind))
    limits, duels = found.limits, found.kinds[0].duel.won.n
    gate = limits.win_rate
    lines = [
        _printed(table),
        "; ".join(f"{kind.name}: {kind.words}" for kind in found.kinds if kind.win_rate >= 0.5 and not kind.wanted),
        f"{found.runs} challengers of each kind at the gates of win_rate, facts and conduct, {duels} duels of each kind; "
        f"seed {found.seed}; 95% intervals.",
        "'wins duel', 'harm' and 'futile' are of those that begin a duel; 'promoted' is admitted and won. Judgments: median of duels won.",
        *_reservations(found),
        "",
        _four(found),
        "",
        f"limits     win rate at least {gate.least:g} and its whole interval above {gate.above:g}, alpha {limits.evaluation.alpha:g}, "
        f"from {gate.min_judgments} judgments or more",
        f"duel       {_duel(limits.duel)}",
        "not here   the other gates, which need a language model's replies; a reviewer may reject what is admitted",
    ]
    return "\n".join(lines)


def _duel(rule: DuelRule) -> str:
    if not rule.required:
        return "none ([duel] required = false): an approved challenger becomes champion at once"
    return (
        f"alpha {rule.alpha:g}, least win rate worth a promotion {rule.least:g}, harm margin {rule.harm_margin:g}, "
        f"{rule.min_judgments} to {rule.budget} judgments"
    )


def _reservations(found: Simulation) -> list[str]:
    if any(kind.duel.undecided.figure for kind in found.kinds):
        return ["Duels that end in no column had too few recruiters to use up the budget ([duel] recruiter_share), and expire."]
    return []


def _cells(kind: KindResult) -> tuple[str, ...]:
    needed = kind.duel.judgments
    return (
        kind.name,
        f"{kind.win_rate:.2f}" if kind.group_win_rate == kind.win_rate else f"{kind.win_rate:.2f}, there {kind.group_win_rate:.2f}",
        _share(kind.admitted),
        *(_share(each) for each in (kind.duel.won, kind.duel.harm, kind.duel.futile, kind.promoted)),
        _count(needed) if needed and kind.wanted else "–",
    )


def _four(found: Simulation) -> str:
    summary = found.summary
    fixed = {kind.name: kind.duel.fixed_n for kind in found.kinds}
    needed = ", ".join(f"{name} {_count(each)}, fixed size {fixed[name]}" for name, each in summary.judgments_needed.items())
    return "\n".join(
        (
            f"false promotion      {_named(summary.false_promotion)}",
            f"missed improvement   {_named(summary.missed_improvement)}",
            f"missed bias          {_named(summary.missed_bias)}",
            f"judgments needed     {needed or 'no good challenger won a duel'}",
        )
    )


def _named(shares: Mapping[str, Interval]) -> str:
    return ", ".join(f"{name} {_share(each)}" for name, each in shares.items())


def _share(each: Interval) -> str:
    figure, low, high = (f"{value * 100:.{1 if 0 < value < 0.1 else 0}f}" for value in (each.figure, each.low, each.high))
    return f"{figure}% [{low}, {high}]"


def _count(each: Interval) -> str:
    return f"{each.figure:.0f} [{each.low:.0f}, {each.high:.0f}]"


def _printed(table: Table) -> str:
    out = io.StringIO()
    Console(file=out, width=140, color_system=None, highlight=False, markup=False).print(table)
    return out.getvalue().strip("\n")
