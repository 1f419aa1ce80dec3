"""The processor: embeds pairs, learns from preferences, requests training runs.

On the SQLite bus each consumer is a thread of the embedded runner, on Kafka a Faust agent; the stations are the same. Apart from
``streams.bus``, only this module depends on which bus is used.
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
from storage.texts.texts import Texts
from streams import metrics
from streams.bus.kafka_settings import KafkaSettings, is_kafka, servers_of
from streams.bus.lag import lag
from streams.bus.open import bus_of, keys_of
from streams.bus.protocol import Bus, records_of
from streams.gc_pause import exclude_loaded_objects
from streams.health import Check, HealthServer
from streams.settings import ProcessorSettings
from streams.stations.contexts import ProcessorContext
from streams.stations.runner import TIMEOUT, Every, HandlerStation, PushStation, Runner, failure_of, stop_on_signals
from streams.stations.settings import RetrainingRule
from streams.stations.table import Consumer, consumers_of
from streams.stations.trigger import RunPlan, due_by_time
from trainers.features.embedding import Embedding
from trainers.reward.online.settings import HeadSettings
from trainers.runs.settings import RunSettings

if TYPE_CHECKING:
    from streams.stations.agents import Agents  # Faust takes half a second to import, and only Kafka needs it

log = logging.getLogger(__name__)

CALENDAR_INTERVAL = 60.0  # seconds between checks whether a run is due by time
JOIN_TIMEOUT = 4.0  # seconds that threads have to finish their step


Ended = tuple[FeedbackLoopError | None, bool]  # the failure, if any, and whether every step has finished


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        A setting is wrong, the address cannot be used, or another processor runs on this home.
    FeedbackLoopError
        A consumer cannot continue in this process; ``Overloaded`` if a later restart will help.
    """
    own = settings.section("processor", ProcessorSettings)
    settings.section("learning", HeadSettings)
    RunSettings.read(settings, settings.section("retraining", RetrainingRule).method)
    stop = stop_on_signals()
    checks: dict[str, Check] = {"embedder": lambda: "the embedding model is being loaded"}
    with _single_instance(settings.common.home), ExitStack() as parts:
        bus = parts.enter_context(closing(bus_of(settings)))
        for row in consumers_of("processor"):
            if not row.exact:  # exact consumers report lag by their own position
                metrics.reader_lag(row.name, partial(lag, bus, row.name, row.topics))
        texts = parts.enter_context(closing(Texts(keys_of(settings, bus))))
        health = HealthServer(checks, own.host, own.port, settings.common.allowed_hosts)
        health.start()
        try:
            run_here = _run_agents if is_kafka(settings.common.bus_url) else _run_threads
            failure, ended = run_here(bus, settings, texts, stop, checks)
        finally:
            health.stop()
        if not ended:
            log.warning("exiting while a step is still running; it is not marked and will be repeated at the next start")
            parts.pop_all()  # leave the bus open: it is still in use
    if failure is not None:
        raise failure


def build(row: Consumer, context: ProcessorContext) -> PushStation:
    """Build the station of a consumer."""
    built = row.build(context)
    if row.handler:
        return HandlerStation(context.bus, row.name, row.topics, built, batch=row.batch, gather=row.gather)
    station: PushStation = built
    return station


def start_consumers(runner: Runner, bus: Bus, settings: Settings, embedder: Embedding, texts: Texts, stop: threading.Event) -> None:
    """Start a thread for each consumer, and one for runs due by time."""
    context = ProcessorContext(bus, settings, embedder, texts)
    for row in consumers_of("processor"):
        runner.start(row.name, partial(build, row, context))
    runner.start("calendar", _calendar(bus, settings, stop))


def agents_for(bus: Bus, settings: Settings, embedder: Embedding, texts: Texts) -> "Agents":
    """A Faust agent for each consumer, in the consumer group of all workers."""
    from streams.stations.agents import BATCH_WINDOW, Agents

    common = settings.common
    agents = Agents(servers_of(common.bus_url), settings.section("kafka", KafkaSettings), common.home / "faust")
    context = ProcessorContext(bus, settings, embedder, texts)
    for row in consumers_of("processor"):
        agents.add(row, partial(build, row, context), batch=row.batch, within=row.gather or BATCH_WINDOW)
    return agents


def _calendar(bus: Bus, settings: Settings, stop: threading.Event) -> Callable[[], Every]:
    """Checks once a minute whether a run is due by time. All workers may do this: their requests have the same id."""
    rule = settings.section("retraining", RetrainingRule)
    plan = RunPlan.of(settings, rule.method, Artifacts(settings.common.artifacts_url))

    def look() -> None:
        bus.publish(records_of(due_by_time(bus, rule, plan, now())), timeout=TIMEOUT)

    return lambda: Every(CALENDAR_INTERVAL, look, stop)


def _run_threads(bus: Bus, settings: Settings, texts: Texts, stop: threading.Event, checks: dict[str, Check]) -> Ended:
    """Run the consumers as threads, on the embedded bus, until ``stop`` is set."""
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
            start_consumers(runner, bus, settings, embedder, texts, stop)
            checks.update(runner.checks)
            del checks["embedder"]

    loading = threading.Thread(target=load_and_start, name="load", daemon=True)
    loading.start()
    stop.wait()
    loading.join(JOIN_TIMEOUT)
    ended = runner.join(JOIN_TIMEOUT) and not loading.is_alive()
    return runner.failure, ended


def _run_agents(bus: Bus, settings: Settings, texts: Texts, stop: threading.Event, checks: dict[str, Check]) -> Ended:
    """Run the consumers as Faust agents, on Kafka, until ``stop`` is set."""
    try:
        embedder = _load(settings)
    except Exception as error:  # noqa: BLE001  # failure_of logs it
        return failure_of("embedder", error), True
    agents = agents_for(bus, settings, embedder, texts)
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

    agents_thread = threading.Thread(target=answer, name="agents", daemon=True)
    agents_thread.start()
    stop.wait()
    agents_thread.join(JOIN_TIMEOUT)  # times out when the broker hangs
    ended = runner.join(JOIN_TIMEOUT) and agents.idle and not agents_thread.is_alive()
    return next(iter(crashes), runner.failure), ended


def _load(settings: Settings) -> Embedding:
    import torch

    from trainers.features.embedder import Embedder
    from trainers.features.settings import FeatureSettings

    torch.set_num_threads(1)  # throughput collapses with two when serving and trainer share the cores
    return Embedder.load(settings.section("features", FeatureSettings))


@contextmanager
def _single_instance(home: Path) -> Iterator[None]:
    """Lock the home: two processors would write the same checkpoint. On Kafka each worker has its own home."""
    open_home(home)
    with held(home / "processor.lock", f"another processor is using {home}; stop it or use another home"):
        yield
