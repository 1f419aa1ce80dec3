"""Whose judgments a command reads from the warehouse."""

from collections.abc import Sequence
from enum import StrEnum

from storage.events import Source
from storage.settings import Settings


class Origin(StrEnum):
    """A source, as an option of commands."""

    product = "product"
    simulation = "simulation"
    imported = "import"
    ai = "ai"


def chosen_sources(settings: Settings, sources: Sequence[Source]) -> Sequence[Source]:
    """The sources named on the command line; by default the configured ones and imports."""
    return sources or tuple(dict.fromkeys((*settings.common.sources, "import")))
