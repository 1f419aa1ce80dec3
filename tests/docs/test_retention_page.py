"""The page on privacy says of every topic and table how long it is kept, as the code does it, and names every minimum that is warned of."""

import re
from pathlib import Path

from storage.warehouse.erasure import COVERED_BY
from storage.warehouse.rows import TABLES
from streams.bus.topics import TOPICS
from streams.stations.retention_settings import MINIMA, RetentionSettings

PAGE = (Path(__file__).parents[2] / "docs" / "safety.md").read_text("utf-8")
ROWS = re.findall(r"^\| `([a-z_.]+)` \| (`[a-z_`, ]+`) \| (.*) \|$", PAGE, re.MULTILINE)
ENDS = {"conversations_days": {"conversation", "pair"}, "decisions_days": {"record"}}  # by setting: what it erases, and what goes with that


def test_every_topic_and_table_has_a_row() -> None:
    assert [topic for topic, _, _ in ROWS] == [topic for topic, _, _ in ROWS if topic in TOPICS]
    told = {topic: set(re.findall(r"\w+", tables)) for topic, tables, _ in ROWS}
    assert len(told) == len(ROWS)
    assert told == {name: {TABLES[kind] for kind in topic.kinds} for name, topic in TOPICS.items()}


def test_what_a_row_says_is_what_an_erasure_reaches() -> None:
    assert ENDS.keys() == RetentionSettings.model_fields.keys()
    for topic, _, ends in ROWS:
        reached = {what for kind in TOPICS[topic].kinds for what in COVERED_BY.get(kind, {}).values()}
        named = {setting for setting, whats in ENDS.items() if reached & whats}
        said = set(re.findall(r"`(\w+_days)`", ends))
        assert said == named, topic
        assert said or ends.startswith("never"), topic


def test_every_minimum_is_explained() -> None:
    for each in MINIMA:
        assert f"| {each.days} days or more" in PAGE, each.rule
        assert each.words in PAGE
