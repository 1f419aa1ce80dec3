"""The words of the simulated world, read once from ``phrases.toml``; ``world``, ``corpus`` and ``checker`` draw on them."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

Split = Literal["sft", "held_out"]
Group = Literal["north", "south"]
Matter = Literal["booking", "status", "rejection", "offer", "documents", "remote"]

GROUPS: tuple[Group, Group] = ("north", "south")


@cache
def phrases() -> dict[str, Any]:
    """The parsed file."""
    return tomllib.loads(Path(__file__).with_name("phrases.toml").read_text("utf-8"))


def variants(part: str, value: str, matter: Matter) -> list[str]:
    """The sentences of the corpus for one value of one attribute: the matter's own, or those for any matter."""
    lists: dict[str, list[str]] = phrases()[part][value]
    return lists[matter] if matter in lists else lists["any"]
