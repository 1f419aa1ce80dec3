"""The table of measurements of ``benchmarks.policy``. A new one is a file beside this one and a row here."""

from benchmarks.measurements import Measurement
from benchmarks.policy import bandit, dpo, governor, memory, off_topic, ppo, ppo_quality, retrainings, tasks
from benchmarks.policy.smollm2 import measure as smollm2

MEASUREMENTS: tuple[Measurement, ...] = (
    Measurement("bandit", bandit.figures),
    Measurement("governor", governor.figures),
    Measurement("governor_honest", governor.honest),
    Measurement("off_topic", off_topic.figures),
    Measurement("tasks", tasks.figures),
    Measurement("retrainings", retrainings.figures),
    Measurement("dpo", dpo.figures),
    Measurement("ppo", ppo.figures),
    Measurement("ppo_quality", ppo_quality.figures),
    Measurement("memory", memory.figures),
    Measurement("smollm2", smollm2.figures),
)
