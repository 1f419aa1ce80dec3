"""The table of measurements of ``benchmarks.access``. A new one is a file beside this one and a row here."""

from benchmarks.access import encryption, erasure, integrity, keys, widget
from benchmarks.measurements import Measurement

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("keys", keys.figures),
    Measurement("integrity", integrity.figures),
    Measurement("widget", widget.figures),
    Measurement("encryption", encryption.figures),
    Measurement("erasure", erasure.figures),
)
