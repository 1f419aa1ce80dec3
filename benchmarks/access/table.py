"""The table of measurements of ``benchmarks.access``. A new one is a file beside this one and a row here."""

from benchmarks.access import encryption, erasure, integrity, keys, widget
from benchmarks.measurements import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("keys", keys.figures),
    Measurement("integrity", integrity.figures),
    Measurement("widget", widget.figures),
    Measurement("encryption_sink", encryption.sink),
    Measurement("encryption_latency", encryption.latency),
    Measurement("erasure", erasure.figures),
)
