"""The trainer's process: its identity, its health, and the pipeline as the work of a claimed run."""

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from storage.artifacts import Artifacts
from storage.errors import TrainingError
from storage.events import TrainingRequested
from storage.home import open_home
from storage.settings import Settings
from streams.bus.open import bus_of
from streams.health import Check, HealthServer
from streams.settings import TrainerSettings
from streams.stations.child import Progress, in_child
from streams.stations.contexts import TrainerContext
from streams.stations.runner import Runner, stop_on_signals
from streams.stations.table import consumers_of
from streams.stations.train import Outcome, Train, Work

if TYPE_CHECKING:
    from trainers.runs.settings import RunSettings

log = logging.getLogger(__name__)

# Training on a CPU allocates and frees large arrays at every step; glibc would give each back to the kernel and fault it in again.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
STOPPING = 4.0  # seconds that a stage has to come to its next step


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        A setting is wrong or the address cannot be used.
    FeedbackLoopError
        It cannot go on in this process; ``Overloaded`` where starting it again later will do.
    """
    own = settings.section("trainer", TrainerSettings)
    os.environ.update(MALLOC)  # for the processes that train: glibc reads it when a process starts
    stop = stop_on_signals()
    checks: dict[str, Check] = {}
    home = open_home(settings.common.home)
    with _identity(home / "trainers") as name, ExitStack() as parts:
        bus = parts.enter_context(closing(bus_of(settings)))
        health = HealthServer(checks, own.host, own.port, settings.common.allowed_hosts)
        health.start()
        runner = Runner(stop)
        context = TrainerContext(bus, home, name, training(settings), stop)
        for row in consumers_of("trainer"):
            runner.start(row.group, partial(row.build, context))
        checks.update(runner.checks)
        stop.wait()
        ended = runner.join(STOPPING)
        health.stop()
        if not ended:  # in the middle of a step that takes long: what is finished is on the disk
            parts.pop_all()  # the bus is in use: the process ends with it open
    if runner.failure is not None:
        raise runner.failure


def training(settings: Settings) -> Train:
    """The real work, each run in a process of its own: what torch and the models take of the memory ends with it."""

    def train_in_child(work: Work, progress: Progress) -> Outcome:
        outcome: Outcome = in_child(train, settings, work, progress=progress)
        return outcome

    return train_in_child


def train(settings: Settings, work: Work, progress: Progress) -> Outcome:
    """The pipeline on the artifacts and settings of this installation."""
    from trainers.runs.job import Job
    from trainers.runs.pipeline import run as run_pipeline

    artifacts = Artifacts(settings.common.artifacts_url)
    frozen, request = work.run.frozen, work.run.request
    assert frozen is not None
    assert request is not None
    job = Job(
        run_id=str(frozen.run_id),
        data=artifacts.get(frozen.snapshot),
        base=settings.common.model,
        champion=frozen.champion,
        champion_policy=artifacts.get(frozen.champion_policy) if frozen.champion_policy else None,
        challengers_before=frozen.challengers_before,
        settings=_settings_of(request, settings, artifacts),
    )
    found = run_pipeline(job, work.folder, artifacts, progress)
    return Outcome(found.version, found.policy, found.report, found.gates, found.verdict)


def _settings_of(request: TrainingRequested, settings: Settings, artifacts: Artifacts) -> "RunSettings":
    """The settings that the run was asked for with; this installation's for a request of an older program, which names none."""
    from trainers.runs.frozen import read_frozen
    from trainers.runs.settings import RunSettings

    if request.settings is None:
        return RunSettings.read(settings, request.method)
    return RunSettings.of(read_frozen(artifacts, request.settings))


@contextmanager
def _identity(folder: Path) -> Iterator[str]:
    """A name that stays the same over restarts and is nobody else's: the first in ``folder`` that no living trainer holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1_000):
        lock = FileLock(folder / f"{number}.lock", thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        with lock, open(folder / f"{number}.name", "a+", encoding="ascii") as file:
            file.seek(0)
            name = file.read().strip()
            if not name:
                name = f"trainer-{secrets.token_hex(6)}"
                file.write(name)
                file.flush()
                os.fsync(file.fileno())
            yield name
            return
    raise TrainingError(f"{folder}: a thousand trainers hold their names there already")
