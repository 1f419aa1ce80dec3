"""What do access control and privacy cost, and how often do their checks err?

``python -m benchmarks.access --json FILE`` runs every row of the table; ``--only NAME`` runs one.
"""

from benchmarks.access.table import MEASUREMENTS
from benchmarks.measurements import run

if __name__ == "__main__":
    run("access", MEASUREMENTS, ("fastapi", "uvicorn", "limits", "cryptography", "duckdb"), __doc__)
