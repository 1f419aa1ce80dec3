"""Train in several processes, one for each GPU, started by torchrun, whose environment accelerate reads.

The process that calls :func:`launched` trains nothing itself: it hands the inputs over in a file, forwards the progress of the first
process, and returns its result. ``python -m trainers.policy.launch FOLDER`` is what each process runs. Their standard input is a pipe from
the caller, so that they end when it ends, however it does.
"""

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from storage.errors import FeedbackLoopError, TrainingError
from storage.files import write_atomic
from trainers.policy.adapters import LoRASettings
from trainers.policy.training import Trained, TrainingInputs

INPUTS, PROGRESS, RESULT, CRASH = "inputs.pickle", "progress.pickle", "result.pickle", "crash.txt"
POLL_INTERVAL = 0.2  # seconds
STOP_TIMEOUT = 10.0  # seconds that the processes may take to end
LAST_OUTPUT = 2_000  # characters of the output of processes that crashed


def processes_of(settings: BaseModel) -> int:
    """How many processes train: ``settings.processes``, or one for each GPU that is seen; one where a model is spread over all of them.

    Within a process that was started by a launcher it is one.
    """
    if "LOCAL_RANK" in os.environ or not isinstance(settings, LoRASettings) or settings.device_map is not None:
        return 1
    if settings.processes is not None:
        return settings.processes
    import torch

    return max(torch.cuda.device_count(), 1)


def launched(method: str, training: TrainingInputs, processes: int) -> Trained:
    """Train by ``method`` in this many processes.

    Raises
    ------
    TrainingError
        The processes ended without a result.
    FeedbackLoopError
        An expected error that was raised in one of the processes.
    """
    folder = training.folder / "launch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_atomic(folder / INPUTS, pickle.dumps((method, replace(training, progress=_no_progress))))
    (folder / PROGRESS).touch()
    output, said = (folder / "output").open("w+b"), (folder / PROGRESS).open("rb")
    with output, said, _processes(folder, processes, output) as started:
        while started.poll() is None:
            _forward(said, training)
            time.sleep(POLL_INTERVAL)
        _forward(said, training)
        if not (folder / RESULT).is_file():
            output.seek(0)
            crash = folder / CRASH
            words = crash.read_text("utf-8") if crash.is_file() else output.read().decode(errors="replace")
            raise TrainingError(
                f"the {processes} training processes ended with code {started.returncode} and without a result: {words[-LAST_OUTPUT:]}"
            )
    result = pickle.loads((folder / RESULT).read_bytes())
    shutil.rmtree(folder)
    if isinstance(result, FeedbackLoopError):
        raise result
    assert isinstance(result, Trained)
    return result


@contextlib.contextmanager
def _processes(folder: Path, count: int, output: Any) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += ["-m", "trainers.policy.launch", str(folder)]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment)
    assert started.stdin is not None
    try:
        yield started
    finally:
        started.stdin.close()  # the processes end themselves
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(STOP_TIMEOUT)
        started.kill()
        started.wait()


def _forward(said: Any, training: TrainingInputs) -> None:
    while True:
        at = said.tell()
        try:
            step, steps, metrics = pickle.load(said)
        except (EOFError, pickle.UnpicklingError):  # not written yet, or not whole
            said.seek(at)
            return
        training.progress(step, steps, metrics)


def _no_progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """No-op progress callback."""


def main(folder: Path) -> None:
    """One of the processes: the first one reports and leaves the result; an expected error is left by any."""
    threading.Thread(target=_end_with_caller, daemon=True).start()
    from trainers.policy.methods import method

    name, training = pickle.loads((folder / INPUTS).read_bytes())
    first = os.environ["RANK"] == "0"
    with (folder / PROGRESS).open("ab", buffering=0) as said:

        def progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
            if first:
                said.write(pickle.dumps((step, steps, dict(metrics))))

        try:
            trained = method(name).train(replace(training, progress=progress))
        except FeedbackLoopError as error:
            # whoever has it leaves it: as soon as one process ends with an error, torchrun ends the others
            write_atomic(folder / RESULT, pickle.dumps(error))
            raise
        except Exception:
            if not (folder / CRASH).exists():  # the others crash after the first one, for want of it
                write_atomic(folder / CRASH, traceback.format_exc().encode())
            raise
    if first:
        write_atomic(folder / RESULT, pickle.dumps(trained))


def _end_with_caller() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the other end is closed
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
