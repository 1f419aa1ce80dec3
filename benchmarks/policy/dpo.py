"""Is our DPO faster than TRL's DPOTrainer, with the same losses?

Comparisons of the shipped model's replies, one CPU thread, fp32, no checkpointing, the reference precomputed. ``dpo_ratio`` compares the
samples a second of a first run, from loading the model to the saved adapter, the sides in turn in one process. ``dpo_rerun_ratio`` compares
whole processes, start and imports included, when an earlier run has seen four of five rows. ``dpo_loss_difference`` is the largest
difference of a step's loss when TRL takes the rows in our order. Times are CPU times: with one thread and nothing to wait for, that is the
wall time of a machine that does nothing else.

``python -m benchmarks.policy.dpo SIDE ROWS FOLDER`` is such a process; it trains on the pickled rows in the file ROWS.
"""

import contextlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.figures import Figure
from benchmarks.policy.dialogues import comparisons
from benchmarks.policy.paired import speed_ratio
from trainers.data.preference import Preference
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.workarounds import keep_freed_memory

SEED, ROWS, ROUNDS = 10_000, 160, 4
RERUN_ROWS, RERUN_ROUNDS, RECURRING = 240, 3, 0.8
SETTINGS = DPOSettings()


def figures(quick: bool) -> Sequence[Figure]:
    """The two ratios and the largest difference of a loss."""
    from trainers.models.policy import load_policy

    torch.set_num_threads(1)
    keep_freed_memory()  # as a run's training stage does; the other side has the benefit too
    rows = sorted(comparisons(SEED, 48 if quick else RERUN_ROWS, load_policy("shipped")), key=_characters)
    with tempfile.TemporaryDirectory() as scratch:
        first = rows if quick else rows[:ROWS]  # the shorter ones
        return [
            _first_runs(first, Path(scratch) / "first", 2 if quick else ROUNDS),
            _loss_difference(first, Path(scratch) / "losses"),
            _reruns(rows, Path(scratch) / "rerun", 2 if quick else RERUN_ROUNDS),
        ]


def _characters(row: Preference) -> int:
    return sum(len(message.content) for message in row.prompt) + max(len(row.chosen), len(row.rejected))


def _first_runs(rows: Sequence[Preference], folder: Path, rounds: int) -> Figure:
    from benchmarks.policy.dpo_by_trl import train_by_trl

    ours, theirs = [], []
    for number in range(rounds):
        with _cache_in(folder / f"cache-{number}"):
            ours.append(_seconds(partial(train_dpo, "shipped", rows, SETTINGS, folder / f"ours-{number}", _silent)))
        theirs.append(_seconds(partial(train_by_trl, rows, SETTINGS, folder / f"theirs-{number}")))
    samples = len(rows) * SETTINGS.epochs
    about = f"TRL's time over ours; {samples * rounds / sum(ours):.0f} and {samples * rounds / sum(theirs):.0f} samples/s"
    return speed_ratio("dpo_ratio", ours, theirs, ">=1.2", about)


def _loss_difference(rows: Sequence[Preference], folder: Path) -> Figure:
    from benchmarks.policy.dpo_by_trl import InOurOrder, train_by_trl

    ours: list[float] = []
    with _cache_in(folder / "cache"):
        train_dpo("shipped", rows, SETTINGS, folder / "ours", lambda step, steps, metrics: ours.append(metrics["loss"]))
    theirs = train_by_trl(rows, SETTINGS, folder / "theirs", InOurOrder)
    largest = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
    return Figure("dpo_loss_difference", largest, None, None, f"largest of {len(ours)} steps", "<=1e-4")


def _reruns(rows: Sequence[Preference], folder: Path, rounds: int) -> Figure:
    earlier, file = folder / "earlier", folder / "rows.pickle"
    folder.mkdir()
    with _cache_in(earlier):
        seen = [row for number, row in enumerate(rows) if number % 5 < 5 * RECURRING]
        train_dpo("shipped", seen, SETTINGS.model_copy(update={"epochs": 1}), folder / "first", _silent)
    file.write_bytes(pickle.dumps(rows))
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds):
        for side, found in seconds.items():
            cache = folder / f"cache-{side}-{number}"
            shutil.copytree(earlier, cache)
            command = [sys.executable, "-m", "benchmarks.policy.dpo", side, str(file), str(folder / f"{side}-{number}")]
            environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"}
            found.append(_seconds(partial(subprocess.run, command, env=environment, capture_output=True, check=True)))
    ours, theirs = (sum(found) / rounds for found in seconds.values())
    about = f"TRL's time over ours; {ours:.0f} and {theirs:.0f} s"
    return speed_ratio("dpo_rerun_ratio", seconds["ours"], seconds["theirs"], ">=1.5", about)


def _seconds(work: Callable[[], object]) -> float:
    """CPU time of this process and of the processes that it has waited for."""
    before = os.times()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return sum(os.times()[:4]) - sum(before[:4])


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def _silent(*said: object) -> None:
    pass


def main(side: str, file: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    rows = pickle.loads(file.read_bytes())  # written by this benchmark
    if side == "ours":
        train_dpo("shipped", rows, SETTINGS, folder, _silent)
    else:
        from benchmarks.policy.dpo_by_trl import train_by_trl

        train_by_trl(rows, SETTINGS, folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
