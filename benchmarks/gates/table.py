"""The table of measurements of ``benchmarks.gates``. A new one is a file beside this one and a row here."""

from benchmarks.gates import conduct, duel, judgments, outcomes, policy, proof, reward, win_rate
from benchmarks.measurements import Measurement

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
