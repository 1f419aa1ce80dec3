"""The table of upstreams: kinds of servers that can generate replies in place of this process. A new one is a file and a row here."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.models import openai
from serving.models.backend import Backend
from serving.settings import ServingSettings
from storage.tables import row_named


@dataclass(frozen=True)
class Upstream:
    """One row of the table: ``name`` is the value of ``[serving] upstream``, ``build`` makes the backend from the section."""

    name: str
    build: Callable[[ServingSettings], Backend]


UPSTREAMS: tuple[Upstream, ...] = (Upstream("openai", openai.build),)


def upstream(name: str) -> Upstream:
    """Look up a row by name.

    Raises
    ------
    ConfigurationError
        No row has that name.
    """
    return row_named(name, "kind of upstream", UPSTREAMS)
