"""How often do the gates and the duel err? Simulations with a known truth, run through the real audits, gates and duel.

``python -m benchmarks.gates --json FILE`` runs every row of the table; ``--only NAME`` runs one. The file is written after each row, and
``--resume`` keeps the rows that it has.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure, result, write
from benchmarks.gates.table import MEASUREMENTS

PACKAGES = ("numpy", "scipy", "torch", "transformers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a small fraction of the runs")
    parser.add_argument("--only", action="append", choices=[row.name for row in MEASUREMENTS], help="this row; may be repeated")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resume", action="store_true", help="keep the rows that the JSON file has")
    arguments = parser.parse_args()
    done: dict[str, list[Figure]] = {}
    if arguments.resume and arguments.json and arguments.json.exists():
        rows = json.loads(arguments.json.read_bytes())["rows"]
        done = {name: [Figure(**figure) for figure in figures] for name, figures in rows.items()}
    for row in MEASUREMENTS:
        if row.name in done or (arguments.only and row.name not in arguments.only):
            continue
        started = time.monotonic()
        done[row.name] = list(row.figures(arguments.quick))
        sys.stderr.write(f"{row.name}: {time.monotonic() - started:.0f} s\n")
        if arguments.json:
            arguments.json.write_text(json.dumps(_result(done), indent=2) + "\n", encoding="utf-8")
    write(_result(done), arguments.json)


def _result(done: dict[str, list[Figure]]) -> dict[str, object]:
    figures = [figure for row in MEASUREMENTS for figure in done.get(row.name, [])]
    rows = {name: [vars(figure) for figure in found] for name, found in done.items()}
    return result("gates", figures, PACKAGES, rows=rows)


if __name__ == "__main__":
    main()
