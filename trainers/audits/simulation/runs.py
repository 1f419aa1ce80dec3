"""Runs synthetic challengers through the real gates and the real duel, with an installation's limits.

A challenger meets a panel that it convinces at a known rate. The win rate's gate estimates that rate from the panel's judgments; the gates
of facts and conduct see counts of replies drawn at known rates; the panel's answers then decide duels. The other gates need a language
model's texts and are taken as passed; ``benchmarks.gates`` measures how well they see.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from storage.events import GateResult
from storage.settings import Settings
from trainers.audits.content import conduct, facts
from trainers.audits.content.conduct import ConductLimits
from trainers.audits.content.facts import FactsLimits
from trainers.audits.content.shares import Shares
from trainers.audits.duel import DuelRule
from trainers.audits.policy import win_rate
from trainers.audits.policy.win_rate import WinRate, WinRateLimits
from trainers.audits.settings import EvaluationSettings
from trainers.audits.simulation.challengers import Challenger, that_wins
from trainers.audits.simulation.duels import Ended, duel, panel_duel
from trainers.audits.simulation.kinds import GROUP_SHARE, Kind
from trainers.audits.simulation.panels import Panel, replies
from trainers.audits.table import gates_section

DUELS = 40  # of each challenger
CURVE = (0.40, 0.45, 0.50, 0.525, 0.55, 0.575, 0.60, 0.65, 0.70, 0.80)  # win rates at which further duels are run
CURVE_DUELS = 8  # at each of them, for each run
OWN = 0.1  # standard deviation of recruiters' win rates in those
WRONG_FACTS, IMPROPER = 0.01, 0.0005  # of the base model's replies
MORE_JUDGMENTS = 5 / 3  # a run starts at the fewest judgments that its gates ask for, and has up to this many times as many


class SimulatedLimits(BaseModel):
    """The settings that decide about a simulated challenger."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation: EvaluationSettings = EvaluationSettings()
    win_rate: WinRateLimits = WinRateLimits()
    facts: FactsLimits = FactsLimits()
    conduct: ConductLimits = ConductLimits()
    duel: DuelRule = DuelRule()

    @classmethod
    def read(cls, settings: Settings) -> "SimulatedLimits":
        """From the sections ``[evaluation]``, ``[gates]`` and ``[duel]``."""
        gates: Any = settings.section("gates", gates_section())
        return cls(
            evaluation=settings.section("evaluation", EvaluationSettings),
            win_rate=gates.win_rate,
            facts=gates.facts,
            conduct=gates.conduct,
            duel=settings.section("duel", DuelRule),
        )


@dataclass(frozen=True)
class Challenged:
    """What happened to one challenger: its gates, and duels that begin where all of them pass."""

    gates: tuple[GateResult, ...]
    duels: tuple[Ended, ...]

    @property
    def admitted(self) -> bool:
        return all(result.verdict == "passed" for result in self.gates)


@dataclass(frozen=True)
class Run:
    """All that was simulated: challengers by the name of their kind, and further duels by win rate."""

    challenged: dict[str, list[Challenged]]
    curve: dict[float, list[Ended]]


def no_progress(done: int, total: int) -> None:
    """No-op progress callback."""


def run(
    rows: Sequence[Kind],
    limits: SimulatedLimits,
    *,
    runs: int,
    seed: int,
    processes: int = 2,
    progress: Callable[[int, int], None] = no_progress,
) -> Run:
    """Simulate ``runs`` challengers of each kind with 40 duels each, and further duels at a range of win rates.

    The result depends on ``seed`` and ``runs`` only, not on the number of processes.

    Parameters
    ----------
    progress : called with the tasks done and in all
    """
    named = [(kind.name, partial(challenge, kind, limits, (seed, number))) for number in range(runs) for kind in rows]
    rates = [(rate, partial(duels_at, rate, limits.duel, (seed, number))) for number in range(runs) for rate in CURVE]
    tasks: list[Callable[[], Any]] = [task for _, task in named] + [task for _, task in rates]
    done: list[Any] = []

    def take(found: Any) -> None:
        done.append(found)
        progress(len(done), len(tasks))

    if processes == 1:
        for task in tasks:
            take(task())
    else:
        with multiprocessing.get_context("spawn").Pool(min(processes, os.cpu_count() or 1), initializer=_start) as pool:
            for found in pool.imap(_call, tasks):
                take(found)
    result = Run({kind.name: [] for kind in rows}, {rate: [] for rate in CURVE})
    for (name, _), found in zip(named, done, strict=False):
        result.challenged[name].append(found)
    for (rate, _), found in zip(rates, done[len(named) :], strict=True):
        result.curve[rate] += found
    return result


def challenge(kind: Kind, limits: SimulatedLimits, seed: Sequence[int]) -> Challenged:
    """One challenger of this kind before its gates, and in its duels against fresh answers of the same panel."""
    rng = np.random.default_rng([*seed, *kind.name.encode()])
    panel, challenger, swapped = _contest(kind, limits, rng)
    gates = (
        win_rate.gate(estimate(rng, panel, challenger, limits, swapped=swapped), limits.win_rate),
        facts.gate(_shares(rng, WRONG_FACTS, kind.wrong_facts, limits.evaluation.prompts), limits.facts),
        conduct.gate(_shares(rng, IMPROPER, kind.improper, limits.evaluation.prompts), limits.conduct),
    )
    rates, ties = panel.answers(challenger.differences(rng, 4_000))
    rates = 1 - rates if swapped else rates
    off = np.array(kind.group_win_rates()) - rates.mean()  # so that the win rate is exactly the kind's, in each group
    duels = [panel_duel(rng, limits.duel, rates[:, None] + off, ties, np.array([GROUP_SHARE, 1 - GROUP_SHARE])) for _ in range(DUELS)]
    return Challenged(gates, tuple(duels))


def duels_at(rate: float, rule: DuelRule, seed: Sequence[int]) -> list[Ended]:
    """Duels at a win rate."""
    if not rule.required:
        return [Ended("better", 0)] * CURVE_DUELS
    states = [duel(rate, (*seed, round(1000 * rate), number), rule, own=OWN) for number in range(CURVE_DUELS)]
    return [Ended(state.outcome, state.counted) for state in states]


def estimate(rng: np.random.Generator, panel: Panel, challenger: Challenger, limits: SimulatedLimits, *, swapped: bool) -> WinRate:
    """The real estimate from the panel's judgments; ``swapped`` exchanges challenger and champion."""
    from trainers.reward.panel import PanelSettings

    fewest = max(limits.win_rate.min_judgments, len(panel.pull))
    judged = panel.judge(rng, int(rng.integers(fewest, round(fewest * MORE_JUDGMENTS) + 1)))
    prompts = limits.evaluation.prompts
    ours, theirs = challenger.replies(rng, prompts), replies(rng, prompts)
    if swapped:
        ours, theirs = theirs, ours
    return win_rate.win_rate(
        judged, ours, theirs, np.zeros(prompts),
        challengers_before=0, alpha=limits.evaluation.alpha, draws=limits.evaluation.resamples, panel=PanelSettings(), seed=0,
    )  # fmt: skip


def _contest(kind: Kind, limits: SimulatedLimits, rng: np.random.Generator) -> tuple[Panel, Challenger, bool]:
    """A panel, a challenger with the kind's win rate to within .01, and whether to exchange it with the champion.

    A challenger that must not pass at one half is never above it.
    """
    least = limits.win_rate.min_recruiters
    if not (kind.shared or kind.own):
        panel = Panel.draw(rng, shared=0.0, own=0.0, least=least)
        return panel, Challenger.draw(rng, panel, rng.uniform(-1, 1)), False
    panel, challenger = that_wins(rng, kind.win_rate, shared=kind.shared, own=kind.own, least=least, smallest=-1.5)
    return panel, challenger, kind.win_rate == 0.5 and challenger.truth(rng, panel) > 0.5


def _shares(rng: np.random.Generator, base: float, more: float, prompts: int) -> Shares:
    """What an evaluation counts of two models with these true rates, whose replies are independent; the champion is the base."""
    ours, theirs = rng.random(prompts) < base + more, rng.random(prompts) < base
    return Shares(
        challenger=float(ours.mean()), champion=float(theirs.mean()), base=float(theirs.mean()), n=prompts,
        more=int((ours & ~theirs).sum()), fewer=int((theirs & ~ours).sum()),
    )  # fmt: skip


def _call(task: Callable[[], Any]) -> Any:
    return task()


def _start() -> None:
    """One thread a process; the parent alone handles Ctrl-C."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
