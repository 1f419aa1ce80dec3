"""How good are the policy trainings, and do they stop in time? Against closed forms, and in simulated worlds with a known taste.

``python -m benchmarks.policy --json FILE`` runs every row of the table; ``--only NAME`` runs one.
"""

from benchmarks.measurements import run
from benchmarks.policy.table import MEASUREMENTS

if __name__ == "__main__":
    run("policy", MEASUREMENTS, ("torch", "transformers", "trl", "peft", "accelerate"), __doc__)
