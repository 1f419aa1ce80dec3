"""The table of upstreams: kinds of servers that can draw replies in place of this process. A new one is a file and a row here."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.models import openai
from serving.models.backend import Backend
from serving.settings import ServingSettings
from storage.errors import ConfigurationError


@dataclass(frozen=True)
class Upstream:
    """One row of the table: ``name`` is that of ``[serving] upstream``, ``build`` makes the backend from the section."""

    name: str
    build: Callable[[ServingSettings], Backend]


UPSTREAMS: tuple[Upstream, ...] = (Upstream("openai", openai.build),)


def upstream(name: str) -> Upstream:
    """The row of that name.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    for row in UPSTREAMS:
        if row.name == name:
            return row
    raise ConfigurationError(
        f"[serving] upstream = {name!r}: there is no such kind; the kinds are {', '.join(row.name for row in UPSTREAMS)}"
    )
