"""How much memory does the whole loop take on one machine, idle after its start and after a training run?

``python -m benchmarks.memory --json FILE``: ``feedbackloop up`` in a new home, and the demo until a version awaits its review. Measured is
the proportional set size (PSS) of the four processes and of everything that they have started: memory that processes share counts once.
The supervisor, which imports neither torch nor DuckDB, is this program here and is not counted; the simulated people are not either.
Linux only.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figure, result, write
from deploy import demo
from deploy.demo import Demo, environment_of
from deploy.supervisor import PROCESSES, Supervisor
from storage.settings import Settings

SETTLE = 20.0  # seconds after which what was needed only for the start or the run has been given back
READY_WITHIN = 180.0
REACH = {"idle": 2.0, "after_run": 2.2}  # GB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=tuple(REACH))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        if arguments.only != "after_run":
            figures += idle(Path(name) / "idle")
        if arguments.only != "idle":
            figures += after_run(Path(name) / "run")
    write(result("memory", figures, ("torch", "duckdb", "transformers", "dash")), arguments.json)


def idle(home: Path) -> list[Figure]:
    """All processes ready, and nobody has asked them anything."""
    settings = Settings.read(home.parent, {}).with_values({"home": home})
    with Supervisor(settings, environment_of(settings), say) as supervisor:
        supervisor.wait_ready(PROCESSES, READY_WITHIN)
        time.sleep(SETTLE)
        return figures_of("idle")


def after_run(home: Path) -> list[Figure]:
    """A version awaits its review, and the run that made it has ended."""
    found: list[Figure] = []

    def measure(summary: object) -> None:
        time.sleep(SETTLE)
        found.extend(figures_of("after_run"))

    settings = Settings.read(home.parent, {}).with_values({"home": home})
    demo.run(Demo(until="review"), settings, say, measure)
    return found


def figures_of(moment: str) -> list[Figure]:
    """The sum over all processes, and each process with what it has started."""
    each = {name: gigabytes(process) for process in psutil.Process().children() if (name := process.cmdline()[-1]) in PROCESSES}
    total = Figure(f"{moment}_gb", round(sum(each.values()), 3), None, None, "GB PSS", f"<={REACH[moment]}")
    return [total, *(Figure(f"{moment}_{name}_gb", round(size, 3), None, None, "GB PSS") for name, size in sorted(each.items()))]


def gigabytes(process: psutil.Process) -> float:
    return float(sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True)))) / 1e9


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
