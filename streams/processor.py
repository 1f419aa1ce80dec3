"""The processor: embeds pairs, learns from preferences, asks for training.

On the SQLite bus each consumer is a thread of the embedded runner. Besides the two bus files this is the one place that knows which bus
it is on.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from storage.errors import ConfigurationError
from storage.events import Event, RewardUpdated, now
from storage.settings import Settings
from streams.bus import Bus, open_bus, records_of
from streams.consumers import consumer
from streams.embed import Encoder, embed_pairs
from streams.health import Check, HealthServer
from streams.learner import Learner
from streams.runner import TIMEOUT, Every, HandlerStation, Runner, stop_on_signals
from streams.trigger import RetrainingRule, due_by_time, on_reward_updated
from trainers.reward.online import HeadSettings

log = logging.getLogger(__name__)

EMBED_BATCH = 8  # pairs: a fraction of a second of MiniLM on one core, so that a pair never waits long behind an import
TRIGGER_BATCH = 100
TICK = 60.0  # seconds between looks at the calendar
STOPPING = 4.0  # seconds that the threads have to finish their step


class ProcessorSettings(BaseModel):
    """The section ``[processor]``: where its health is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8051


class Embedding(Encoder, Protocol):
    """An encoder that says how long its vectors are."""

    dimension: int


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        A setting is wrong, the address cannot be used, or another processor runs on this home.
    """
    own = settings.section("processor", ProcessorSettings)
    settings.section("learning", HeadSettings)
    settings.section("retraining", RetrainingRule)
    stop = stop_on_signals()
    checks: dict[str, Check] = {"embedder": lambda: "the embedding model is being loaded"}
    with _only_one(settings.common.home), closing(open_bus(settings.common.bus_url)) as bus:
        health = HealthServer(checks, own.host, own.port)
        health.start()
        runner = Runner(stop)
        loading = threading.Thread(target=_load_and_start, args=(runner, bus, settings, stop, checks), name="load", daemon=True)
        loading.start()
        stop.wait()
        loading.join(STOPPING)
        ended = runner.join(STOPPING) and not loading.is_alive()
        health.stop()
        if not ended:
            log.warning("a step is still running; it has left no mark and is done again at the next start")
            os._exit(1 if runner.crashed.is_set() else 0)
    if runner.crashed.is_set():
        raise SystemExit(1)


def start_consumers(runner: Runner, bus: Bus, settings: Settings, embedder: Embedding, stop: threading.Event) -> None:
    """A thread for each consumer that the table gives to the processor."""
    common = settings.common
    rule = settings.section("retraining", RetrainingRule)

    def ask(events: Sequence[Event]) -> list[Event]:
        updates = [event for event in events if isinstance(event, RewardUpdated)]
        return [request for update in updates for request in on_reward_updated(update, rule, common.sources)]

    def look_at_the_calendar() -> None:
        bus.publish(records_of(due_by_time(bus, rule, common.sources, now())), timeout=TIMEOUT)

    learner = partial(
        Learner,
        bus,
        common.home / "learner",
        settings.section("learning", HeadSettings),
        embedding_hash=embedder.hash,
        dimension=embedder.dimension,
        sources=common.sources,
    )
    embed = partial(embed_pairs, embedder=embedder)
    runner.start("learner", learner)
    runner.start("embed", lambda: HandlerStation(bus, "embed", consumer("embed").topics, embed, batch=EMBED_BATCH))
    runner.start("trigger", lambda: HandlerStation(bus, "trigger", consumer("trigger").topics, ask, batch=TRIGGER_BATCH))
    runner.start("calendar", lambda: Every(TICK, look_at_the_calendar, stop))


def _load_and_start(runner: Runner, bus: Bus, settings: Settings, stop: threading.Event, checks: dict[str, Check]) -> None:
    try:
        import torch

        from trainers.features import Embedder, FeatureSettings

        torch.set_num_threads(1)  # two collapse where serving and trainer share the cores
        embedder = Embedder.load(settings.section("features", FeatureSettings))
    except Exception as error:
        log.exception("the embedding model could not be loaded")
        reason = str(error)
        checks["embedder"] = lambda: reason
        runner.crashed.set()
        stop.set()
        return
    if not stop.is_set():
        start_consumers(runner, bus, settings, embedder, stop)
        checks.update(runner.checks)
        del checks["embedder"]


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """On the embedded bus one processor works on a home: two would write the same checkpoint."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "processor.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(f"another processor works on {home}; stop it or name another home") from error
        yield
