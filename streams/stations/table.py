"""The table of consumers: who answers which topics, in which process. The processes build and run what stands here, and nothing else.

A new consumer is a file beside this one and a row here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from storage.errors import ConfigurationError
from streams.bus.topics import FROZEN, PAIRS, PREFERENCES, PROGRESS, REQUESTED, REWARD, TOPICS, VERSIONS, Topic
from streams.stations import coordinator, embed, learner, sink, train, trigger

Process = Literal["processor", "hub", "trainer"]


@dataclass(frozen=True)
class Consumer:
    """One row of the table.

    Attributes
    ----------
    group : the consumer group; names the thread or agent, its marks and its health check
    build : makes the station from the process's context; a pure handler where ``handler`` is set
    batch : entries that it takes at a time
    gather : seconds between two answers of a handler
    exact : keeps position and result in one atomic write of its own, and takes the marks on the bus only as a hint where to look
    """

    group: str
    process: Process
    topics: tuple[Topic, ...]
    build: Callable[[Any], Any]
    handler: bool = False
    batch: int = 1_000
    gather: float = 0.0
    exact: bool = False


RUNS = (REQUESTED, FROZEN, PROGRESS, VERSIONS)

CONSUMERS: tuple[Consumer, ...] = (
    # 8 pairs are a fraction of a second of MiniLM on one core: none waits long behind an import.
    Consumer("embed", "processor", (PAIRS,), embed.build, handler=True, batch=8),
    Consumer("learner", "processor", (PREFERENCES,), learner.build, batch=500, exact=True),
    # Each answer costs the log a mark, and nobody waits for a training to begin.
    Consumer("trigger", "processor", (REWARD,), trigger.build, handler=True, batch=100, gather=0.5),
    Consumer("sink", "hub", tuple(TOPICS.values()), sink.build, exact=True),
    Consumer("coordinator", "hub", RUNS, coordinator.build, exact=True),
    Consumer("trainer", "trainer", RUNS, train.build, exact=True),
)


def consumers_of(process: Process) -> tuple[Consumer, ...]:
    """The rows of a process.

    Raises
    ------
    ConfigurationError
        Two rows have one group: they would share their marks.
    """
    groups = [row.group for row in CONSUMERS]
    if twice := sorted({group for group in groups if groups.count(group) > 1}):
        raise ConfigurationError(f"two consumers are named {', '.join(twice)}: give one of them another group")
    return tuple(row for row in CONSUMERS if row.process == process)


def consumer(group: str) -> Consumer:
    """The row of a group."""
    return next(row for row in CONSUMERS if row.group == group)
