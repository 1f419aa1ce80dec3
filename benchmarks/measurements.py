"""A benchmark of several rows, each measured by a file of its own, such as ``benchmarks.gates`` and ``benchmarks.gateway``."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure, commit, result, write


@dataclass(frozen=True)
class Measurement:
    """A row: ``figures(quick)`` measures; with ``quick`` on a small fraction of the runs, to try the program out."""

    name: str
    figures: Callable[[bool], Iterable[Figure]]


def run(benchmark: str, rows: Sequence[Measurement], packages: Sequence[str], about: str | None) -> None:
    """The command line of the benchmark: all rows or some; the JSON file is written after each row."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{benchmark}", description=about.splitlines()[0] if about else None)
    parser.add_argument("--quick", action="store_true", help="a small fraction of the runs")
    parser.add_argument("--only", action="append", choices=[row.name for row in rows], help="this row; may be repeated")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--resume", action="store_true", help="keep the rows that the JSON file has")
    arguments = parser.parse_args()
    done: dict[str, list[Figure]] = {}
    commits: dict[str, str] = {}
    if arguments.resume and arguments.json and arguments.json.exists():
        kept = json.loads(arguments.json.read_bytes())
        done = {name: [Figure(**figure) for figure in figures] for name, figures in kept["rows"].items()}
        commits = kept["commits"]

    def found() -> dict[str, object]:
        figures = [figure for row in rows for figure in done.get(row.name, [])]
        by_row = {name: [vars(figure) for figure in each] for name, each in done.items()}
        commit_of_all = " and ".join(sorted(set(commits.values())))
        return result(benchmark, figures, packages, rows=by_row, commits=commits, commit=commit_of_all, partial=len(done) < len(rows))

    for row in rows:
        if row.name in done or (arguments.only and row.name not in arguments.only):
            continue
        started = time.monotonic()
        done[row.name], commits[row.name] = list(row.figures(arguments.quick)), commit()
        sys.stderr.write(f"{row.name}: {time.monotonic() - started:.0f} s\n")
        if arguments.json:
            arguments.json.write_text(json.dumps(found(), indent=2) + "\n", encoding="utf-8")
    write(found(), arguments.json)
