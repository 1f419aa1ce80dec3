"""The log on Kafka: the same guarantees as the SQLite bus, across machines.

Readers use ``assign`` and ``seek``, never ``subscribe``: this program decides which process reads what, and a reader that keeps its own
position needs no group membership. Marks are offsets committed for a consumer group of the reader's name that never has members. The
producer is idempotent and waits for all in-sync replicas.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata

from storage.errors import ConfigurationError, OffsetLost, Overloaded
from streams.bus.kafka_client import connect
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.protocol import Logged, Partition, Position, Record

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 8 * 2**20  # ten times the longest prompt that intake accepts
PARTITION_FETCH_BYTES = 2**20  # of one partition in one fetch response
FETCH_TIMEOUT = 30.0  # seconds to wait for entries that exist according to the end offsets
SECOND_POLL = 0.004  # seconds: enough for a nearby broker to return what else it has
RETRY_FOR = 10.0  # seconds to retry requests about offsets and group coordinators
DELIVERY_TIMEOUT = 30_000  # milliseconds until the producer drops a record
BOOTSTRAP_TIMEOUT = 5_000  # milliseconds to reach the first broker; the client's default is 30 s, however short the call's own timeout
REQUEST_TIMEOUT = 10_000  # milliseconds
MAX_IDLE = 4  # consumers in the pool
METADATA_MAX_AGE = 10_000  # milliseconds until added partitions are noticed


class KafkaBus:
    """The ``Bus`` on the brokers ``servers`` ("host:port,host:port"); safe to use from several threads."""

    def __init__(self, servers: str, settings: KafkaSettings) -> None:
        self._options = settings.options(servers)
        self._guard = threading.Lock()
        self._sending = threading.Lock()
        self._marking = threading.Lock()
        self._producer: Any = None
        self._admin: Any = None
        self._idle: list[_Reader] = []
        self._closed = False

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        """Append and wait for all acknowledgements; ``Overloaded`` after ``timeout`` seconds without them.

        An empty value becomes a tombstone, which matters on compacted topics only.
        """
        if not records:
            return []
        deadline = time.monotonic() + timeout
        producer: Any = None
        try:
            with self._sending:  # keeps the records of one call contiguous in their partitions
                producer = self._producer_within(deadline)
                sent = [producer.send(record.topic, key=record.key, value=record.value or None) for record in records]
            acknowledged = [future.get(max(deadline - time.monotonic(), 0.001)) for future in sent]
        except KafkaError as error:
            self._discard(producer)
            raise Overloaded(f"Kafka did not acknowledge within {timeout:g} s: {_describe(error)}; try again") from error
        return [Position(Partition(record.topic, record.partition), record.offset) for record in acknowledged]

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        """Entries in order within each partition. With ``wait=0`` an empty list means that the end of the log is reached."""
        deadline = time.monotonic() + wait
        for partition, offset in after.items():
            if offset < -1:
                raise _lost(partition, offset)
        with self._reader(after) as reader:
            try:
                reader.seek(after)
                asked = time.monotonic()
                # Asking for the end waits behind the fetch in flight, up to half a second: not while there are entries.
                found = reader.poll(max(deadline - asked, 0), limit) if wait or reader.has_entries else []
                # Entries returned without waiting were prefetched, perhaps long ago: there may be more by now.
                if 0 < len(found) < limit and time.monotonic() - asked < SECOND_POLL:
                    found += reader.poll(SECOND_POLL, limit - len(found))
                if not found and not wait and reader.is_behind(after):
                    found = reader.poll(FETCH_TIMEOUT, limit)
                    if not found:
                        raise Overloaded(f"Kafka has entries but sent none within {FETCH_TIMEOUT:g} s; try again")
            except OffsetOutOfRangeError as error:
                reader.reset()
                (at,) = [(Partition(*tp), offset) for tp, offset in error.args[0].items()][:1]
                raise _lost(at[0], at[1] - 1) from error
            except KafkaError as error:
                reader.reset()
                raise Overloaded(f"Kafka does not answer: {_describe(error)}; try again") from error
        return found

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        with self._reader({}) as reader:
            try:
                partitions = [partition for topic in topics for partition in reader.partitions(topic)]
                first, following = reader.ends(partitions)
            except KafkaError as error:
                raise Overloaded(f"Kafka does not answer: {_describe(error)}; try again") from error
        return {partition: (first[partition], following[partition]) for partition in partitions}

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        offsets = {TopicPartition(*partition): OffsetAndMetadata(offset + 1, "", -1) for partition, offset in upto.items()}
        with self._marking:
            answered = _retry(lambda: self._alter_offsets(reader, offsets), f"Kafka did not commit the offsets of {reader}")
        if failed := {tp: kind for tp, kind in answered.items() if kind.errno}:
            raise Overloaded(f"Kafka did not commit the offsets of {reader}: {failed}; is a consumer subscribed under this name?")

    def marked(self, reader: str) -> Mapping[Partition, int]:
        with self._marking:
            answered = _retry(lambda: self._admin_client().list_group_offsets([reader]), f"Kafka does not return the offsets of {reader}")
        return {Partition(*tp): at.offset - 1 for tp, at in answered[reader].items() if at.offset >= 0}

    def close(self) -> None:
        with self._guard:
            self._closed = True
            for reader in self._idle:
                reader.close()
            self._idle.clear()
            producer, self._producer = self._producer, None
            admin, self._admin = self._admin, None
        if producer is not None:
            _close(producer, 1)  # publishers have waited for their acknowledgements: nothing is left to flush
        if admin is not None:
            admin.close()

    def __enter__(self) -> "KafkaBus":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _producer_within(self, deadline: float) -> Any:
        if self._producer is None:
            self._producer = connect(
                KafkaProducer,
                **self._options,
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                batch_size=262_144,
                max_request_size=MAX_MESSAGE_BYTES,
                request_timeout_ms=REQUEST_TIMEOUT,
                delivery_timeout_ms=DELIVERY_TIMEOUT,
                bootstrap_timeout_ms=max(int((deadline - time.monotonic()) * 1000), 1),
                max_block_ms=max(int((deadline - time.monotonic()) * 1000), 1),
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
        return self._producer

    def _discard(self, producer: Any) -> None:
        """Replace a producer after a failure, without flushing: what it still buffers is unknown, and the caller retries.

        A timeout too: in kafka-python 3.0.12 a producer can hang permanently once records have expired in it.
        """
        with self._sending:
            if self._producer is producer:
                self._producer = None
        if producer is not None:
            _close(producer, 0)

    def _alter_offsets(self, reader: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> Mapping[TopicPartition, type[KafkaError]]:
        """The result for each partition; raises the error if it is retriable."""
        answered: Mapping[TopicPartition, type[KafkaError]] = self._admin_client().alter_group_offsets(reader, offsets)
        for kind in answered.values():
            if kind.retriable:
                raise kind()
        return answered

    def _admin_client(self) -> Any:
        if self._admin is None:
            self._admin = connect(
                KafkaAdminClient, **self._options, request_timeout_ms=REQUEST_TIMEOUT, bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT
            )
        return self._admin

    @contextmanager
    def _reader(self, after: Mapping[Partition, int]) -> Iterator["_Reader"]:
        """Borrow a consumer from the pool, preferably one with these partitions: reassigning it would drop its prefetched entries."""
        wanted = frozenset(after)
        with self._guard:
            fitting = next((reader for reader in self._idle if not wanted or reader.assigned == wanted), None)
            if fitting is None and len(self._idle) >= MAX_IDLE:
                fitting = self._idle[0]  # least recently used
            if fitting is not None:
                self._idle.remove(fitting)
        try:
            reader = fitting or _Reader(self._options)
        except KafkaError as error:
            raise Overloaded(f"Kafka does not answer: {_describe(error)}; try again") from error
        try:
            yield reader
        finally:
            with self._guard:
                if self._closed:
                    reader.close()
                else:
                    self._idle.append(reader)


class _Reader:
    """A consumer and its positions."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._consumer = connect(
            KafkaConsumer,
            **options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            max_poll_records=1_000_000,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES,  # a larger entry is still returned, alone
            fetch_max_bytes=4 * MAX_MESSAGE_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT,
            metadata_max_age_ms=METADATA_MAX_AGE,
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT,
            metrics_enabled=False,
        )
        self.assigned: frozenset[Partition] = frozenset()
        self._next: dict[Partition, int] = {}
        self._buffered: dict[Partition, list[Any]] = {}  # fetched and not yet returned

    def seek(self, after: Mapping[Partition, int]) -> None:
        if self.assigned != after.keys():
            self._consumer.assign([TopicPartition(*partition) for partition in after])
            self.assigned = frozenset(after)
            self.reset()
        for partition, offset in after.items():
            if self._next.get(partition) != offset + 1:
                self._consumer.seek(TopicPartition(*partition), offset + 1)
                self._next[partition] = offset + 1
                self._buffered.pop(partition, None)

    @property
    def has_entries(self) -> bool:
        """Whether entries are fetched that were not returned yet."""
        return bool(self._buffered)

    def poll(self, wait: float, limit: int) -> list[Logged]:
        """Take from all partitions in equal shares: related events on different topics should be read together."""
        if len(self._buffered) < len(self.assigned):
            self._fetch(0 if self._buffered else wait, limit)
        entries: list[Logged] = []
        while self._buffered and len(entries) < limit:
            share = max((limit - len(entries)) // len(self._buffered), 1)
            for partition in list(self._buffered)[: limit - len(entries)]:
                many = self._buffered[partition]
                entries += [Logged(partition, one.offset, one.key or b"", one.value or b"") for one in many[:share]]
                del many[:share]
                if not many:
                    del self._buffered[partition]
        for entry in entries:
            self._next[entry.partition] = entry.offset + 1
        return entries

    def _fetch(self, wait: float, limit: int) -> None:
        """Fetch more, pausing partitions with ``limit`` entries buffered: otherwise small entries would run ahead of large ones."""
        full = [TopicPartition(*partition) for partition, many in self._buffered.items() if len(many) >= limit]
        self._consumer.pause(*full)
        try:
            fetched = self._consumer.poll(timeout_ms=wait * 1000)
        finally:
            self._consumer.resume(*full)
        for tp, many in fetched.items():
            self._buffered.setdefault(Partition(*tp), []).extend(many)

    def is_behind(self, after: Mapping[Partition, int]) -> bool:
        _, following = self.ends(after, first=False)
        for partition, offset in after.items():
            if offset + 1 > following[partition]:
                raise _lost(partition, offset)
        return any(offset + 1 < following[partition] for partition, offset in after.items())

    def partitions(self, topic: str) -> list[Partition]:
        numbers = self._consumer.partitions_for_topic(topic)
        if not numbers:
            raise ConfigurationError(f"Kafka has no topic {topic}: create the topics with 'feedbackloop topics create'")
        return [Partition(topic, number) for number in sorted(numbers)]

    def ends(self, partitions: Collection[Partition], *, first: bool = True) -> tuple[dict[Partition, int], dict[Partition, int]]:
        """Beginning offsets (empty unless ``first``) and end offsets."""
        asked = [TopicPartition(*partition) for partition in partitions]
        begins = _retry_missing(lambda: self._consumer.beginning_offsets(asked)) if first else {}
        ends = _retry_missing(lambda: self._consumer.end_offsets(asked))
        return {Partition(*tp): offset for tp, offset in begins.items()}, {Partition(*tp): offset for tp, offset in ends.items()}

    def reset(self) -> None:
        self._next, self._buffered = {}, {}

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=1000)


def _lost(partition: Partition, offset: int) -> OffsetLost:
    where = f"{partition.topic}: offset {offset + 1} of partition {partition.number}"
    return OffsetLost(f"{where} is not in the log; rebuild the reader's state with 'replay'")


def _retry_missing(ask: Callable[[], Mapping[TopicPartition, int]]) -> Mapping[TopicPartition, int]:
    """Retry until all partitions are answered: kafka-python 3.0.12 raises ``KeyError`` for those whose leader it does not know yet."""
    deadline = time.monotonic() + RETRY_FOR
    while True:
        try:
            return ask()
        except KeyError as missing:
            if time.monotonic() > deadline:
                raise Overloaded(f"Kafka reports no leader for {missing}; check the brokers' logs") from missing
        time.sleep(0.05)


def _retry(ask: Callable[[], Any], what: str) -> Any:
    """Retry retriable errors: a broker that has just started does not know its group coordinators yet."""
    deadline = time.monotonic() + RETRY_FOR
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise Overloaded(f"{what}: {_describe(error)}; try again") from error
        time.sleep(0.1)


def _close(producer: Any, seconds: float) -> None:
    """Close the producer and its thread; kafka-python 3.0.12 raises while records are undelivered and leaves the thread running."""
    try:
        producer.close(timeout=seconds)
    except KafkaError:
        producer._sender.force_close()


def _describe(error: KafkaError) -> str:
    return f"{type(error).__name__}: {error}".strip(": ")
