"""How fast is the chatbot service, as a gateway and with its own model? Peers are measured beside it, in turn, on the same machine.

``python -m benchmarks.gateway --json FILE`` runs every row of the table; ``--only NAME`` runs one.
"""

from benchmarks.gateway.table import MEASUREMENTS
from benchmarks.measurements import run

if __name__ == "__main__":
    run("gateway", MEASUREMENTS, ("fastapi", "httpx", "torch", "transformers", "uvicorn"), __doc__)
