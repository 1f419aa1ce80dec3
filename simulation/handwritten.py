"""Fifty prompts written by hand, not from templates, in ``handwritten.csv``; for evaluation only."""

import csv
from pathlib import Path
from typing import cast

from simulation.phrases import Group, Matter
from simulation.world import Conversation, Record


def handwritten() -> list[Conversation]:
    """The fifty conversations of one turn each, in the order of the file."""
    with Path(__file__).with_name("handwritten.csv").open(encoding="utf-8", newline="") as file:
        return [_conversation(number, row) for number, row in enumerate(csv.DictReader(file))]


def _conversation(number: int, row: dict[str, str]) -> Conversation:
    record = Record(
        candidate=row["candidate"],
        group=cast(Group, row["group"]),
        role=row["role"],
        employer=row["employer"],
        stage=row["stage"],
        slots=(row["slot 1"], row["slot 2"]),
        by=row["by"],
        documents=(row["document 1"], row["document 2"]),
        starts=row["starts"],
        remote=row["remote"],
        matter=cast(Matter, row["matter"]),
        asked_day=row["day"] or None,
    )
    return Conversation(f"hand-{number:02d}", (record,), (row["ask"],))
