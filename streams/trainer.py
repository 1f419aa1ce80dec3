"""The trainer process: its identity, its health endpoints, and the pipeline that a claimed run executes."""

import hmac
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
from storage.settings import Common, Settings
from storage.texts.texts import Texts
from streams.bus.open import bus_of, keys_of
from streams.child import Progress, in_child
from streams.health import Check, HealthServer
from streams.pseudonyms import pseudonym_key
from streams.settings import TrainerSettings
from streams.stations.contexts import TrainerContext
from streams.stations.runner import Runner, stop_on_signals
from streams.stations.table import consumers_of
from streams.stations.train import Outcome, Train, Work

if TYPE_CHECKING:
    from trainers.runs.settings import RunSettings

log = logging.getLogger(__name__)

JOIN_TIMEOUT = 4.0  # seconds that a stage has to reach its next step


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        A setting is wrong or the address cannot be used.
    FeedbackLoopError
        It cannot continue in this process; ``Overloaded`` if a later restart will help.
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
            runner.start(row.name, partial(row.build, context))
        checks.update(runner.checks)
        stop.wait()
        ended = runner.join(JOIN_TIMEOUT)
        health.stop()
        if not ended:  # in the middle of a long step; finished stages are on disk
            parts.pop_all()  # leave the bus open: it is still in use
    if runner.failure is not None:
        raise runner.failure


def training(settings: Settings) -> Train:
    """The work of a run in a child process, so that the memory of torch and the models is released when it ends."""

    def train_in_child(work: Work, progress: Progress) -> Outcome:
        outcome: Outcome = in_child(train, settings, work, progress=progress)
        return outcome

    return train_in_child


def train(settings: Settings, work: Work, progress: Progress) -> Outcome:
    """Run the pipeline with the artifacts and settings of this installation."""
    import torch

    from trainers.policy.training import CachePlace
    from trainers.runs.job import Job
    from trainers.runs.pipeline import run as run_pipeline

    torch.set_num_threads(settings.section("trainer", TrainerSettings).threads)
    artifacts = Artifacts(settings.common.artifacts_url)
    frozen, request = work.run.frozen, work.run.request
    assert frozen is not None
    assert request is not None
    with closing(bus_of(settings)) as bus, closing(Texts(keys_of(settings, bus))) as texts:
        job = Job(
            run_id=str(frozen.run_id),
            data=artifacts.get(frozen.snapshot),
            base=settings.common.model,
            champion=frozen.champion,
            champion_policy=artifacts.get(frozen.champion_policy) if frozen.champion_policy else None,
            challengers_before=frozen.challengers_before,
            settings=_settings_of(request, settings, artifacts),
            texts=texts,
            cache=CachePlace(settings.common.home / "reference-log-probabilities", _cache_key(settings.common)),
        )
        result = run_pipeline(job, work.folder, artifacts, progress)
    return Outcome(result.version, result.policy, result.report, result.gates, result.verdict)


def _settings_of(request: TrainingRequested, settings: Settings, artifacts: Artifacts) -> "RunSettings":
    """The run's frozen settings; those of this installation for requests of older versions, which have none."""
    from trainers.runs.frozen import read_frozen
    from trainers.runs.settings import RunSettings

    if request.settings is None:
        return RunSettings.read(settings, request.method)
    return RunSettings.of(read_frozen(artifacts, request.settings))


def _cache_key(common: Common) -> bytes:
    return hmac.digest(pseudonym_key(common), b"reference log-probabilities", "sha256")


@contextmanager
def _identity(folder: Path) -> Iterator[str]:
    """A unique name that is stable across restarts: the first in ``folder`` that no running trainer has locked."""
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
    raise TrainingError(f"{folder}: all 999 trainer names are in use")
