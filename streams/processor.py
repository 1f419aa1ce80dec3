"""The processor: embeds pairs, learns from preferences, asks for training.

On the SQLite bus each consumer is a thread of the embedded runner, on Kafka a Faust agent; the stations are the same. Besides the two bus
files this is the one place that knows which bus it is on.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from storage.artifacts import Artifacts
from storage.errors import FeedbackLoopError
from storage.events import now
from storage.home import held, open_home
from storage.settings import Settings
from streams import metrics
from streams.bus.kafka_settings import KafkaSettings, is_kafka, servers_of
from streams.bus.lag import lag
from streams.bus.open import bus_of
from streams.bus.protocol import Bus, records_of
from streams.gc_pause import exclude_loaded_objects
from streams.health import Check, HealthServer
from streams.settings import ProcessorSettings
from streams.stations.contexts import ProcessorContext
from streams.stations.runner import TIMEOUT, Answering, Every, HandlerStation, Runner, failure_of, stop_on_signals
from streams.stations.settings import RetrainingRule
from streams.stations.table import Consumer, consumers_of
from streams.stations.trigger import RunPlan, due_by_time
from trainers.features.embedding import Embedding
from trainers.reward.online.settings import HeadSettings
from trainers.runs.settings import RunSettings

if TYPE_CHECKING:
    from streams.stations.agents import Agents  # Faust takes half a second to import, and only Kafka needs it

log = logging.getLogger(__name__)

TICK = 60.0  # seconds between looks at the calendar
STOPPING = 4.0  # seconds that the threads have to finish their step


Ended = tuple[FeedbackLoopError | None, bool]  # what it failed with, and whether every step has ended


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        A setting is wrong, the address cannot be used, or another processor runs on this home.
    FeedbackLoopError
        A consumer cannot go on in this process; ``Overloaded`` where starting it again later will do.
    """
    own = settings.section("processor", ProcessorSettings)
    settings.section("learning", HeadSettings)
    RunSettings.read(settings, settings.section("retraining", RetrainingRule).method)
    stop = stop_on_signals()
    checks: dict[str, Check] = {"embedder": lambda: "the embedding model is being loaded"}
    with _only_one(settings.common.home), ExitStack() as parts:
        bus = parts.enter_context(closing(bus_of(settings)))
        for row in consumers_of("processor"):
            if not row.exact:  # an exact reader knows better how far it has come
                metrics.reader_lag(row.group, partial(lag, bus, row.group, row.topics))
        health = HealthServer(checks, own.host, own.port, settings.common.allowed_hosts)
        health.start()
        try:
            run_here = _run_agents if is_kafka(settings.common.bus_url) else _run_threads
            failure, ended = run_here(bus, settings, stop, checks)
        finally:
            health.stop()
        if not ended:
            log.warning("a step is still running; it has left no mark and is done again at the next start")
            parts.pop_all()  # the bus is in use: the process ends with it open
    if failure is not None:
        raise failure


def build(row: Consumer, context: ProcessorContext) -> Answering:
    """The station of one of the processor's rows."""
    built = row.build(context)
    if row.handler:
        return HandlerStation(context.bus, row.group, row.topics, built, batch=row.batch, gather=row.gather)
    station: Answering = built
    return station


def start_consumers(runner: Runner, bus: Bus, settings: Settings, embedder: Embedding, stop: threading.Event) -> None:
    """A thread for each consumer, and one for the calendar."""
    context = ProcessorContext(bus, settings, embedder)
    for row in consumers_of("processor"):
        runner.start(row.group, partial(build, row, context))
    runner.start("calendar", _calendar(bus, settings, stop))


def agents_for(bus: Bus, settings: Settings, embedder: Embedding) -> "Agents":
    """A Faust agent for each consumer, as a member of the group of workers."""
    from streams.stations.agents import WITHIN, Agents

    common = settings.common
    agents = Agents(servers_of(common.bus_url), settings.section("kafka", KafkaSettings), common.home / "faust")
    context = ProcessorContext(bus, settings, embedder)
    for row in consumers_of("processor"):
        agents.add(row, partial(build, row, context), batch=row.batch, within=row.gather or WITHIN)
    return agents


def _calendar(bus: Bus, settings: Settings, stop: threading.Event) -> Callable[[], Every]:
    """Looks once a minute whether it is time to train. Every worker may: what one asks for has the id that the others would give it."""
    rule = settings.section("retraining", RetrainingRule)
    plan = RunPlan.of(settings, rule.method, Artifacts(settings.common.artifacts_url))

    def look() -> None:
        bus.publish(records_of(due_by_time(bus, rule, plan, now())), timeout=TIMEOUT)

    return lambda: Every(TICK, look, stop)


def _run_threads(bus: Bus, settings: Settings, stop: threading.Event, checks: dict[str, Check]) -> Ended:
    """Run on the embedded bus until the stop."""
    runner = Runner(stop)

    def load_and_start() -> None:
        try:
            embedder = _load(settings)
        except Exception as error:  # noqa: BLE001  # failure_of logs it
            runner.failure = failure_of("embedder", error)
            stop.set()
            return
        if not stop.is_set():
            exclude_loaded_objects()
            start_consumers(runner, bus, settings, embedder, stop)
            checks.update(runner.checks)
            del checks["embedder"]

    loading = threading.Thread(target=load_and_start, name="load", daemon=True)
    loading.start()
    stop.wait()
    loading.join(STOPPING)
    ended = runner.join(STOPPING) and not loading.is_alive()
    return runner.failure, ended


def _run_agents(bus: Bus, settings: Settings, stop: threading.Event, checks: dict[str, Check]) -> Ended:
    """The same on Kafka, as a member of the group of workers."""
    try:
        embedder = _load(settings)
    except Exception as error:  # noqa: BLE001  # failure_of logs it
        return failure_of("embedder", error), True
    agents = agents_for(bus, settings, embedder)
    exclude_loaded_objects()
    runner = Runner(stop)
    runner.start("calendar", _calendar(bus, settings, stop))
    checks.update({**agents.checks, **runner.checks})
    del checks["embedder"]
    crashes: list[FeedbackLoopError] = []

    def answer() -> None:
        try:
            crash = asyncio.run(agents.run(stop))
        except Exception as error:  # noqa: BLE001  # failure_of logs it
            crash = error
        if crash is not None:
            crashes.append(crash if isinstance(crash, FeedbackLoopError) else failure_of("the Faust app", crash))
        stop.set()

    answering = threading.Thread(target=answer, name="agents", daemon=True)
    answering.start()
    stop.wait()
    answering.join(STOPPING)  # longer where the broker hangs
    ended = runner.join(STOPPING) and agents.idle and not answering.is_alive()
    return next(iter(crashes), runner.failure), ended


def _load(settings: Settings) -> Embedding:
    import torch

    from trainers.features.embedder import Embedder
    from trainers.features.settings import FeatureSettings

    torch.set_num_threads(1)  # two collapse where serving and trainer share the cores
    return Embedder.load(settings.section("features", FeatureSettings))


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """One processor works on a home: two would write the same checkpoint. On Kafka each worker has a home of its own."""
    open_home(home)
    with held(home / "processor.lock", f"another processor works on {home}; stop it or name another home"):
        yield
