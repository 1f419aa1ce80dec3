"""The list of gates, and what they say together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.events import GateResult, Verdict
from trainers.audits.gates.content import conduct, facts
from trainers.audits.gates.drift import kl_budget
from trainers.audits.gates.limits import Limits
from trainers.audits.gates.names import name_contrast
from trainers.audits.gates.preference import win_rate
from trainers.audits.kl import Divergence
from trainers.audits.name_swap import Contrast
from trainers.audits.trial import Found
from trainers.audits.win_rate import WinRate


@dataclass(frozen=True)
class Evidence:
    """What evaluation found, as gates take it; the arrays say of each reply whether it is wrong, or improper."""

    win_rate: WinRate
    kl_base: Divergence
    wrong: tuple[np.ndarray, np.ndarray]  # challenger, champion
    improper: tuple[np.ndarray, np.ndarray]
    contrasts: Sequence[Contrast]

    @classmethod
    def of(cls, found: Found) -> "Evidence":
        """The part of a trial's findings that is gated."""
        wrong, improper = (tuple(np.array(flags, bool) for flags in both) for both in (found.wrong, found.improper))
        return cls(found.win_rate, found.kl_base, (wrong[0], wrong[1]), (improper[0], improper[1]), found.contrasts)


def gate(evidence: Evidence, limits: Limits) -> tuple[GateResult, ...]:
    """Every gate's result."""
    return (
        win_rate(evidence.win_rate, limits.win_rate),
        kl_budget(evidence.kl_base, limits.kl_budget),
        facts(*evidence.wrong, limits.facts),
        conduct(*evidence.improper, limits.conduct),
        name_contrast(evidence.contrasts, limits.name_contrast),
    )


def verdict(results: Sequence[GateResult]) -> Verdict:
    """Failed where any gate failed; else insufficient where any lacks evidence, or none was asked; else passed."""
    verdicts = {result.verdict for result in results}
    if "failed" in verdicts:
        return "failed"
    return "passed" if verdicts == {"passed"} else "insufficient"
