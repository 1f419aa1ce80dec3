"""The table of consumers: which station consumes which topics, in which process. Processes build and run exactly these rows.

To add a consumer, add a file beside this one and a row here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from storage.tables import by_name, row_named
from streams.bus.topics import ERASURES, FROZEN, PAIRS, PREFERENCES, PROGRESS, RATINGS, REQUESTED, REWARD, TOPICS, VERSIONS, Topic
from streams.stations import coordinator, embed, erasure, learner, retention, rewrites, sink, train, trigger, webhooks

Process = Literal["processor", "hub", "trainer"]


@dataclass(frozen=True)
class Consumer:
    """One row of the table.

    Attributes
    ----------
    name : the consumer group; also names the thread or agent, and the health check
    build : creates the station from the process's context, or a pure handler if ``handler`` is set
    batch : maximum number of entries at a time
    gather : minimum seconds between two calls of a handler
    exact : writes position and result atomically in its own storage, and uses the marks on the bus only as a hint
    """

    name: str
    process: Process
    topics: tuple[Topic, ...]
    build: Callable[[Any], Any]
    handler: bool = False
    batch: int = 1_000
    gather: float = 0.0
    exact: bool = False


RUNS = (REQUESTED, FROZEN, PROGRESS, VERSIONS)

CONSUMERS: tuple[Consumer, ...] = (
    # 8 pairs take MiniLM a fraction of a second on one core, so live pairs do not wait long behind an import.
    Consumer("embed", "processor", (PAIRS,), embed.build, handler=True, batch=8),
    Consumer("learner", "processor", (PREFERENCES,), learner.build, batch=500, exact=True),
    # Each call costs a mark on the bus, and a training run is not urgent.
    Consumer("trigger", "processor", (REWARD,), trigger.build, handler=True, batch=100, gather=0.5),
    Consumer("sink", "hub", tuple(TOPICS.values()), sink.build, exact=True),
    Consumer("coordinator", "hub", RUNS, coordinator.build, exact=True),
    Consumer("rewrites", "hub", (RATINGS,), rewrites.build, exact=True),
    Consumer("erasure", "hub", (ERASURES,), erasure.build, exact=True),
    Consumer("retention", "hub", (), retention.build, exact=True),  # looks at the warehouse
    Consumer("webhooks", "hub", RUNS, webhooks.build, exact=True),
    Consumer("trainer", "trainer", RUNS, train.build, exact=True),
)


def consumers_of(process: Process) -> tuple[Consumer, ...]:
    """The rows of a process.

    Raises
    ------
    ConfigurationError
        Two rows have the same group: they would share their marks.
    """
    return tuple(row for row in by_name("consumer", CONSUMERS).values() if row.process == process)


def consumer(group: str) -> Consumer:
    """The row of a group."""
    return row_named(group, "consumer", CONSUMERS)
