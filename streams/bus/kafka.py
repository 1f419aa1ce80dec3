"""The log on Kafka: the same promises as the SQLite bus, over many machines.

Readers are assigned their partitions and told where to begin (assign and seek): which process answers what is this program's decision,
and a reader that keeps its own position needs no group. Marks are the offsets committed for a group of the reader's name that never has
members. Publishing is idempotent and waits until every replica in sync has the entries.
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
from streams.bus.kafka_settings import KafkaSettings
from streams.bus.protocol import Logged, Partition, Position, Record

log = logging.getLogger(__name__)

LARGEST = 8 * 2**20  # bytes of one entry; the longest prompt that intake takes is a tenth of it
SHARE = 2**20  # bytes of one partition in an answer
FETCHING = 30.0  # seconds that reading waits for entries that the broker says it has
ANSWER = 0.004  # seconds in which a broker nearby says what else it has
PATIENCE = 10.0  # seconds that a question about marks is asked again
DELIVERY = 30_000  # milliseconds until the producer gives an entry up
BOOTSTRAP = 5_000  # milliseconds to find the first broker; half a minute by default, however short the call's own limit
REQUEST = 10_000  # milliseconds until a broker counts as gone
READERS = 4  # consumers kept for the next question
METADATA = 10_000  # milliseconds until a partition that was added is heard of


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
        """Append, and wait for all acknowledgements. ``Overloaded`` when they are not there after ``timeout`` seconds."""
        if not records:
            return []
        deadline = time.monotonic() + timeout
        producer: Any = None
        try:
            with self._sending:  # the entries of one call stand together in their partitions
                producer = self._producer_within(deadline)
                sent = [producer.send(record.topic, key=record.key, value=record.value) for record in records]
            found = [future.get(max(deadline - time.monotonic(), 0.001)) for future in sent]
        except KafkaError as error:
            self._forget(producer)
            raise Overloaded(f"Kafka took no entry within {timeout:g} s: {_said(error)}; try again") from error
        return [Position(Partition(one.topic, one.partition), one.offset) for one in found]

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        """Entries in order within each partition. With ``wait=0`` an empty answer says that there is nothing."""
        deadline = time.monotonic() + wait
        for partition, offset in after.items():
            if offset < -1:
                raise _lost(partition, offset)
        with self._reader(after) as reader:
            try:
                reader.go_to(after)
                asked = time.monotonic()
                found = reader.poll(max(deadline - asked, 0), limit) if wait else []
                # What did not have to be waited for was fetched before, perhaps long ago: there may be more by now.
                if 0 < len(found) < limit and time.monotonic() - asked < ANSWER:
                    found += reader.poll(ANSWER, limit - len(found))
                if not found and not wait and reader.behind(after):
                    found = reader.poll(FETCHING, limit)
                    if not found:
                        raise Overloaded(f"Kafka has entries and sent none within {FETCHING:g} s; try again")
            except OffsetOutOfRangeError as error:
                reader.lose_place()
                (at,) = [(Partition(*tp), offset) for tp, offset in error.args[0].items()][:1]
                raise _lost(at[0], at[1] - 1) from error
            except KafkaError as error:
                reader.lose_place()
                raise Overloaded(f"Kafka does not answer: {_said(error)}; try again") from error
        return found

    def bounds(self, topics: Collection[str]) -> Mapping[Partition, tuple[int, int]]:
        with self._reader({}) as reader:
            try:
                partitions = [partition for topic in topics for partition in reader.partitions(topic)]
                first, following = reader.ends(partitions)
            except KafkaError as error:
                raise Overloaded(f"Kafka does not answer: {_said(error)}; try again") from error
        return {partition: (first[partition], following[partition]) for partition in partitions}

    def mark(self, reader: str, upto: Mapping[Partition, int]) -> None:
        offsets = {TopicPartition(*partition): OffsetAndMetadata(offset + 1, "", -1) for partition, offset in upto.items()}
        with self._marking:
            answered = _patiently(lambda: self._altered(reader, offsets), f"Kafka took no mark of {reader}")
        if failed := {tp: kind for tp, kind in answered.items() if kind.errno}:
            raise Overloaded(f"Kafka took no mark of {reader}: {failed}; is something subscribed under this name?")

    def marked(self, reader: str) -> Mapping[Partition, int]:
        with self._marking:
            answered = _patiently(lambda: self._admin_client().list_group_offsets([reader]), f"Kafka does not say what {reader} marked")
        found = answered[reader]
        return {Partition(*tp): at.offset - 1 for tp, at in found.items() if at.offset >= 0}

    def close(self) -> None:
        with self._guard:
            self._closed = True
            for reader in self._idle:
                reader.close()
            self._idle.clear()
            producer, self._producer = self._producer, None
            admin, self._admin = self._admin, None
        if producer is not None:
            _end(producer, 1)  # whoever published has waited for the answer
        if admin is not None:
            admin.close()

    def __enter__(self) -> "KafkaBus":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _producer_within(self, deadline: float) -> Any:
        if self._producer is None:
            self._producer = KafkaProducer(
                **self._options,
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                batch_size=262_144,
                max_request_size=LARGEST,
                request_timeout_ms=REQUEST,
                delivery_timeout_ms=DELIVERY,
                bootstrap_timeout_ms=max(int((deadline - time.monotonic()) * 1000), 1),
                max_block_ms=max(int((deadline - time.monotonic()) * 1000), 1),
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
        return self._producer

    def _forget(self, producer: Any) -> None:
        """After a failure nobody knows what it still holds: what has not left is given up, and the caller sends it again.

        Not even a timeout is waited out: in kafka-python 3.0.12 a producer may deliver nothing ever again once entries have expired in it.
        """
        with self._sending:
            if self._producer is producer:
                self._producer = None
        if producer is not None:
            _end(producer, 0)

    def _altered(self, reader: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> Mapping[TopicPartition, type[KafkaError]]:
        """What became of each partition's mark; raises where asking again helps."""
        answered: Mapping[TopicPartition, type[KafkaError]] = self._admin_client().alter_group_offsets(reader, offsets)
        for kind in answered.values():
            if kind.retriable:
                raise kind()
        return answered

    def _admin_client(self) -> Any:
        if self._admin is None:
            self._admin = KafkaAdminClient(**self._options, request_timeout_ms=REQUEST, bootstrap_timeout_ms=BOOTSTRAP)
        return self._admin

    @contextmanager
    def _reader(self, after: Mapping[Partition, int]) -> Iterator["_Reader"]:
        """A consumer that nobody else is using, best one that is at these partitions already: another loses what it has fetched."""
        wanted = frozenset(after)
        with self._guard:
            fitting = next((reader for reader in self._idle if not wanted or reader.assigned == wanted), None)
            if fitting is None and len(self._idle) >= READERS:
                fitting = self._idle[0]  # the one that has been idle longest
            if fitting is not None:
                self._idle.remove(fitting)
        try:
            reader = fitting or _Reader(self._options)
        except KafkaError as error:
            raise Overloaded(f"Kafka does not answer: {_said(error)}; try again") from error
        try:
            yield reader
        finally:
            with self._guard:
                if self._closed:
                    reader.close()
                else:
                    self._idle.append(reader)


class _Reader:
    """A consumer, and where it stands."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._consumer = KafkaConsumer(
            **options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            allow_auto_create_topics=False,
            max_poll_records=1_000_000,
            max_partition_fetch_bytes=SHARE,  # an entry that is larger comes all the same, by itself
            fetch_max_bytes=4 * LARGEST,
            request_timeout_ms=REQUEST,
            metadata_max_age_ms=METADATA,
            bootstrap_timeout_ms=BOOTSTRAP,
            metrics_enabled=False,
        )
        self.assigned: frozenset[Partition] = frozenset()
        self._next: dict[Partition, int] = {}
        self._held: dict[Partition, list[Any]] = {}  # fetched, and not read yet

    def go_to(self, after: Mapping[Partition, int]) -> None:
        if self.assigned != after.keys():
            self._consumer.assign([TopicPartition(*partition) for partition in after])
            self.assigned = frozenset(after)
            self.lose_place()
        for partition, offset in after.items():
            if self._next.get(partition) != offset + 1:
                self._consumer.seek(TopicPartition(*partition), offset + 1)
                self._next[partition] = offset + 1
                self._held.pop(partition, None)

    def poll(self, wait: float, limit: int) -> list[Logged]:
        """Of every partition that has something in turn: what belongs together lies on several topics and is best read together."""
        if len(self._held) < len(self.assigned):
            self._fetch(0 if self._held else wait, limit)
        entries: list[Logged] = []
        while self._held and len(entries) < limit:
            share = max((limit - len(entries)) // len(self._held), 1)
            for partition in list(self._held)[: limit - len(entries)]:
                many = self._held[partition]
                entries += [Logged(partition, one.offset, one.key or b"", one.value or b"") for one in many[:share]]
                del many[:share]
                if not many:
                    del self._held[partition]
        for entry in entries:
            self._next[entry.partition] = entry.offset + 1
        return entries

    def _fetch(self, wait: float, limit: int) -> None:
        """More of all partitions but those of which enough is held: small entries come in larger numbers than large ones."""
        ahead = [TopicPartition(*partition) for partition, many in self._held.items() if len(many) >= limit]
        self._consumer.pause(*ahead)
        try:
            found = self._consumer.poll(timeout_ms=wait * 1000)
        finally:
            self._consumer.resume(*ahead)
        for tp, many in found.items():
            self._held.setdefault(Partition(*tp), []).extend(many)

    def behind(self, after: Mapping[Partition, int]) -> bool:
        _, following = self.ends(after, first=False)
        for partition, offset in after.items():
            if offset + 1 > following[partition]:
                raise _lost(partition, offset)
        return any(offset + 1 < following[partition] for partition, offset in after.items())

    def partitions(self, topic: str) -> list[Partition]:
        found = self._consumer.partitions_for_topic(topic)
        if not found:
            raise ConfigurationError(f"Kafka has no topic {topic}: create the topics with 'feedbackloop topics create'")
        return [Partition(topic, number) for number in sorted(found)]

    def ends(self, partitions: Collection[Partition], *, first: bool = True) -> tuple[dict[Partition, int], dict[Partition, int]]:
        """The first offset kept (when asked for) and the next to be given."""
        asked = [TopicPartition(*partition) for partition in partitions]
        begins = _of_every_one(lambda: self._consumer.beginning_offsets(asked)) if first else {}
        ends = _of_every_one(lambda: self._consumer.end_offsets(asked))
        return {Partition(*tp): offset for tp, offset in begins.items()}, {Partition(*tp): offset for tp, offset in ends.items()}

    def lose_place(self) -> None:
        self._next, self._held = {}, {}

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=1000)


def _lost(partition: Partition, offset: int) -> OffsetLost:
    return OffsetLost(
        f"{partition.topic}: offset {offset + 1} of partition {partition.number} is not in the log; rebuild what read it with 'replay'"
    )


def _of_every_one(ask: Callable[[], Mapping[TopicPartition, int]]) -> Mapping[TopicPartition, int]:
    """The answer for all partitions. kafka-python 3.0.12 leaves out those whose leader it has not heard of yet, and then misses them."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except KeyError as missing:
            if time.monotonic() > deadline:
                raise Overloaded(f"Kafka names no leader of {missing}; look at the brokers' logs") from missing
        time.sleep(0.05)


def _patiently(ask: Callable[[], Any], what: str) -> Any:
    """What the broker answers once it is ready: a new one has to find who coordinates a group."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise Overloaded(f"{what}: {_said(error)}; try again") from error
        time.sleep(0.1)


def _end(producer: Any, seconds: float) -> None:
    """Close it. kafka-python 3.0.12 raises while something is undelivered, and leaves its thread running."""
    try:
        producer.close(timeout=seconds)
    except KafkaError:
        producer._sender.force_close()


def _said(error: KafkaError) -> str:
    return f"{type(error).__name__}: {error}".strip(": ")
