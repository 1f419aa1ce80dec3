"""The processor on Kafka: the consumers of the table as Faust agents, on any number of workers.

Faust assigns partitions and commits the group's offsets. The stations are the same code as on the embedded bus and publish through
``streams.bus``. An offset is acknowledged after its effect is durable: the events are published, or the learner's checkpoint is written.
Faust tables and ``exactly_once`` are not used: both lost or duplicated events when measured.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faust

from storage.errors import FeedbackLoopError, Overloaded, temporary_reason
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.protocol import Logged, Partition
from streams.health import Check
from streams.stations.runner import OVERLOAD_BACKOFF, PushStation, failure_of
from streams.stations.table import Consumer

log = logging.getLogger(__name__)

APP = "feedbackloop"  # the consumer group of all workers
BATCH_WINDOW = 0.02  # seconds to collect a batch, by default
NOISY_LOGGERS = ("aiokafka", "faust", "mode")

Handle = Callable[[Sequence[Logged]], None]


class Agents:
    """A Faust app with an agent for each added consumer; call ``run`` in its own event loop.

    Each agent handles entries in its own thread, so that a slow handler does not block Kafka's heartbeat.
    """

    def __init__(self, servers: str, kafka: KafkaSettings, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.app = faust.App(
            APP,
            broker=[f"kafka://{server}" for server in servers.split(",")],
            broker_credentials=kafka.faust_credentials(),
            datadir=folder,
            store="memory://",
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            broker_commit_interval=0.2,
            broker_commit_every=100,
            broker_session_timeout=6,
            broker_heartbeat_interval=1,
            stream_wait_empty=False,
        )
        self._problems: dict[str, str] = {}
        self._names: list[str] = []
        self._busy: set[str] = set()
        self._crash: BaseException | None = None
        for name in NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)

    def add(self, row: Consumer, build: Callable[[], PushStation], *, batch: int, within: float = BATCH_WINDOW) -> None:
        """Add a consumer: its station gets up to ``batch`` entries collected ``within`` seconds, in order within each partition.

        The station is built at the first entry: a worker without the learner's partition never loads a head.
        """
        channel = self.app.topic(
            *(topic.name for topic in row.topics), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        thread = ThreadPoolExecutor(1, thread_name_prefix=row.name)
        self._names.append(row.name)
        built: list[PushStation] = []

        def handle(entries: Sequence[Logged]) -> None:
            if not built:
                built.append(build())
            built[0].handle(entries)

        async def take(stream: Any) -> None:
            async for events in stream.noack_take(batch, within=within):
                await self._handle(row.name, thread, handle, [_logged(event.message) for event in events])
                for event in events:
                    await stream.ack(event)

        self.app.agent(channel, name=row.name)(take)

    async def _handle(self, group: str, thread: ThreadPoolExecutor, handle: Handle, entries: Sequence[Logged]) -> None:
        self._busy.add(group)
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(thread, handle, entries)
            except Overloaded as error:
                log.warning("%s: %s", group, error)
                await asyncio.sleep(OVERLOAD_BACKOFF)
            except Exception as error:  # noqa: BLE001  # failure_of logs it
                if isinstance(error, FeedbackLoopError) and temporary_reason(error) is None:
                    log.error("%s stops: %s", group, error)  # needs an operator: stop this consumer and report it in the health check
                    self._problems[group] = str(error)
                else:  # Faust would commit the entries: end the process instead, so that they are redelivered
                    self._crash = failure_of(group, error)
                    self._problems[group] = str(self._crash)
                await asyncio.Event().wait()
            else:
                self._busy.discard(group)
                return

    @property
    def checks(self) -> Mapping[str, Check]:
        return {name: self._check(name) for name in self._names}

    @property
    def idle(self) -> bool:
        """Whether no handler is running."""
        return not self._busy - self._problems.keys()

    async def run(self, stop: threading.Event) -> BaseException | None:
        """Run until ``stop`` is set; return what crashed the app or a handler, or None."""
        async with self.app:
            while not (stop.is_set() or self._crash or self.app.crash_reason or self.app.should_stop):
                await asyncio.sleep(0.2)
        return self._crash or self.app.crash_reason

    def _check(self, name: str) -> Check:
        return lambda: self._problems.get(name)


def _logged(message: Any) -> Logged:
    return Logged(Partition(message.topic, message.partition), message.offset, message.key or b"", message.value or b"")
