"""How good, how honest and how fast are the reward models? On real preferences, and in simulations with a known truth.

``python -m benchmarks.reward --json FILE`` runs every row of the table; ``--only NAME`` runs one.
"""

from benchmarks.measurements import run
from benchmarks.reward.table import MEASUREMENTS

if __name__ == "__main__":
    run("reward", MEASUREMENTS, ("numpy", "scipy", "scikit-learn", "torch", "transformers"), __doc__)
