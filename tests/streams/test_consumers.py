"""The table of consumers is whole: every topic is answered, and whoever answers finds it there."""

from streams.bus.topics import TOPICS
from streams.stations.table import CONSUMERS, consumer


def test_groups_are_named_once_and_every_topic_reaches_the_warehouse() -> None:
    groups = [row.group for row in CONSUMERS]
    assert len(groups) == len(set(groups))
    assert set(consumer("sink").topics) == set(TOPICS.values())
    assert {row.process for row in CONSUMERS} == {"processor", "hub", "trainer"}
