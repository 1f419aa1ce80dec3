"""The table of measurements of ``benchmarks.policy``. A new one is a file beside this one and a row here."""

from benchmarks.measurements import Measurement
from benchmarks.policy import bandit, governor

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("bandit", bandit.figures),
    Measurement("governor", governor.figures),
)
