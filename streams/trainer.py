"""The trainer's process: its identity, its health, and the pipeline as the work of a claimed run."""

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.artifacts import Artifacts
from storage.errors import TrainingError
from storage.events import TrainingRequested
from storage.home import open_home
from storage.settings import Settings
from streams.bus.open import bus_of
from streams.health import Check, HealthServer
from streams.stations.contexts import TrainerContext
from streams.stations.runner import Runner, stop_on_signals
from streams.stations.table import consumers_of
from streams.stations.train import Outcome, Progress, Train, Work

if TYPE_CHECKING:
    from trainers.runs.settings import RunSettings

log = logging.getLogger(__name__)

STOPPING = 4.0  # seconds that a stage has to come to its next step


class TrainerSettings(BaseModel):
    """The section ``[trainer]``: where its health is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8052


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
    """The real work: the pipeline on the artifacts and settings of this installation."""
    artifacts = Artifacts(settings.common.artifacts_url)

    def train(work: Work, progress: Progress) -> Outcome:
        from trainers.runs.job import Job
        from trainers.runs.pipeline import run as run_pipeline

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
        outcome: Outcome = run_pipeline(job, work.folder, artifacts, progress)
        return outcome

    return train


def _settings_of(request: TrainingRequested, settings: Settings, artifacts: Artifacts) -> "RunSettings":
    """The settings that the run was asked for with; this installation's for a request of an older program, which names none."""
    from trainers.runs.frozen import read_frozen
    from trainers.runs.settings import RunSettings

    if request.settings is None:
        return RunSettings.read(settings, request.method)
    return RunSettings.of(read_frozen(artifacts, request.settings))


@contextmanager
def _identity(folder: Path) -> Iterator[str]:
    """A name that stays the same over restarts and is nobody else's: that of the first file in ``folder`` that no living trainer holds."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1_000):
        with open(folder / f"{number}.name", "a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
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
