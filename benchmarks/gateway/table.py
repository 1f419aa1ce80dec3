"""The table of measurements of ``benchmarks.gateway``. A new one is a file beside this one and a row here."""

from benchmarks.gateway import feedback, fuzz, latency, local, swap
from benchmarks.measurements import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("latency", latency.figures),
    Measurement("feedback", feedback.figures),
    Measurement("local", local.figures),
    Measurement("swap", swap.figures),
    Measurement("fuzz", fuzz.figures),
)
