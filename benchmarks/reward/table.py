"""The table of measurements of ``benchmarks.reward``. A new one is a file beside this one and a row here."""

from benchmarks.measurements import Measurement
from benchmarks.reward import (
    asking_real,
    embedding,
    harmless,
    labels,
    noise,
    online,
    overoptimisation,
    probes,
    rerank,
    scale,
    speed,
    transformer,
)

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("online", online.figures),
    Measurement("harmless", harmless.figures),
    Measurement("scale", scale.figures),
    Measurement("noise", noise.figures),
    Measurement("labels", labels.figures),
    Measurement("asking_real", asking_real.figures),
    Measurement("overoptimisation", overoptimisation.figures),
    Measurement("probes", probes.figures),
    Measurement("speed", speed.figures),
    Measurement("rerank", rerank.figures),
    Measurement("embedding", embedding.figures),
    Measurement("transformer", transformer.figures),
)
