"""The table of measurements of ``benchmarks.gates``. A new one is a file beside this one and a row here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure
from benchmarks.gates import conduct, duel, judgments, outcomes, policy, proof, reward, win_rate


@dataclass(frozen=True)
class Measurement:
    """A row: ``figures(quick)`` measures; with ``quick`` on a small fraction of the runs, to try the program out."""

    name: str
    figures: Callable[[bool], Sequence[Figure]]


MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("win_rate", win_rate.figures),
    Measurement("judgments", judgments.figures),
    Measurement("reward", reward.figures),
    Measurement("policy", policy.figures),
    Measurement("conduct", conduct.figures),
    Measurement("duel", duel.figures),
    Measurement("outcomes", outcomes.figures),
    Measurement("proof", proof.figures),
)
