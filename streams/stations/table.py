"""The one table of who answers what: topic → consumer group → process → function. Nothing else decides it; ``processor.py``,
``hub.py`` and ``trainer.py`` wire what stands here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from streams import runs, versions
from streams.bus.topics import FROZEN, PAIRS, PREFERENCES, PROGRESS, REQUESTED, REWARD, TOPICS, VERSIONS, Topic
from streams.stations import embed, freeze, learner, sink, trigger


@dataclass(frozen=True)
class Consumer:
    """``function`` answers what arrives on ``topics`` for the consumer group, in that process.

    ``exact`` ones keep position and result in one atomic write of their own and take the marks on the bus only as a hint where to look.
    """

    group: str
    process: Literal["processor", "hub", "trainer"]
    topics: tuple[Topic, ...]
    function: Callable[..., Any]
    exact: bool = False


CONSUMERS = (
    Consumer("embed", "processor", (PAIRS,), embed.embed_pairs),
    Consumer("learner", "processor", (PREFERENCES,), learner.Learner.step, exact=True),
    Consumer("trigger", "processor", (REWARD,), trigger.on_reward_updated),
    Consumer("sink", "hub", tuple(TOPICS.values()), sink.Sink.step, exact=True),
    Consumer("freeze", "hub", (REQUESTED, FROZEN, PROGRESS, VERSIONS), freeze.freeze_next, exact=True),
    Consumer("promote", "hub", (VERSIONS,), versions.promotions, exact=True),
    Consumer("trainer", "trainer", (REQUESTED, FROZEN, PROGRESS, VERSIONS), runs.step, exact=True),
)


def consumer(group: str) -> Consumer:
    """The row of a group."""
    return next(row for row in CONSUMERS if row.group == group)
