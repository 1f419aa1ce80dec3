"""The processor on Kafka: the consumers of the table as Faust agents, over as many workers as are started.

Faust decides who answers which partition and keeps the group's offsets; what is answered is the same code as on the embedded bus, and goes
out through it. An offset is acknowledged after the effect: after the made events are durable, or the learner's checkpoint is written.
No Faust tables and no ``exactly_once``: both lost or doubled events when measured.
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
from streams.stations.runner import CATCH_BREATH, Answering, failure_of
from streams.stations.table import Consumer

log = logging.getLogger(__name__)

APP = "feedbackloop"  # the consumer group of all workers
WITHIN = 0.02  # seconds that a batch is waited for, as a rule
NOISY = ("aiokafka", "faust", "mode")

Answer = Callable[[Sequence[Logged]], None]


class Agents:
    """A Faust app whose agents answer for some consumers; ``run`` it in an event loop of its own.

    Each agent works in a thread of its own, so that the heartbeat goes on however long an answer takes.
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
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.WARNING)

    def add(self, row: Consumer, build: Callable[[], Answering], *, batch: int, within: float = WITHIN) -> None:
        """Let a station answer this consumer's entries, ``batch`` at a time or what came ``within`` seconds, in order in each partition.

        It is built at the first entry: a worker that is not given the learner's partition never loads a head.
        """
        channel = self.app.topic(
            *(topic.name for topic in row.topics), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        thread = ThreadPoolExecutor(1, thread_name_prefix=row.group)
        self._names.append(row.group)
        built: list[Answering] = []

        def answer(entries: Sequence[Logged]) -> None:
            if not built:
                built.append(build())
            built[0].answer(entries)

        async def take(stream: Any) -> None:
            async for events in stream.noack_take(batch, within=within):
                await self._answered(row.group, thread, answer, [_logged(event.message) for event in events])
                for event in events:
                    await stream.ack(event)

        self.app.agent(channel, name=row.group)(take)

    async def _answered(self, group: str, thread: ThreadPoolExecutor, answer: Answer, entries: Sequence[Logged]) -> None:
        self._busy.add(group)
        while True:
            try:
                await asyncio.get_running_loop().run_in_executor(thread, answer, entries)
            except Overloaded as error:
                log.warning("%s: %s", group, error)
                await asyncio.sleep(CATCH_BREATH)
            except Exception as error:  # noqa: BLE001  # failure_of logs it
                if isinstance(error, FeedbackLoopError) and temporary_reason(error) is None:
                    log.error("%s stops: %s", group, error)  # what only an operator can mend: it stops here, and its health says so
                    self._problems[group] = str(error)
                else:  # Faust would commit the entries as done: the process ends instead, and they come again
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
        """No answer is under way."""
        return not self._busy - self._problems.keys()

    async def run(self, stop: threading.Event) -> BaseException | None:
        """Answer until the stop; what crashed the app or an answer, if anything did."""
        async with self.app:
            while not (stop.is_set() or self._crash or self.app.crash_reason or self.app.should_stop):
                await asyncio.sleep(0.2)
        return self._crash or self.app.crash_reason

    def _check(self, name: str) -> Check:
        return lambda: self._problems.get(name)


def _logged(message: Any) -> Logged:
    return Logged(Partition(message.topic, message.partition), message.offset, message.key or b"", message.value or b"")
