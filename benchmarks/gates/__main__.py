"""How often do the gates and the duel err? Simulations with a known truth, run through the real audits, gates and duel.

``python -m benchmarks.gates --json FILE`` runs every row of the table; ``--only NAME`` runs one. The file is written after each row, and
``--resume`` keeps the rows that it has.
"""

from benchmarks.gates.table import MEASUREMENTS
from benchmarks.measurements import run

if __name__ == "__main__":
    run("gates", MEASUREMENTS, ("numpy", "scipy", "torch", "transformers"), __doc__)
