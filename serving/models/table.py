"""The table of upstreams: kinds of servers that can generate replies in place of this process. A new one is a file and a row here."""

from collections.abc import Callable
from dataclasses import dataclass

from serving.models import anthropic, openai
from serving.models.backend import Backend
from serving.models.upstream_settings import UpstreamSettings
from storage.tables import row_named


@dataclass(frozen=True)
class Upstream:
    """One row of the table: ``name`` is the value of ``kind``, ``build`` makes the backend from the section."""

    name: str
    build: Callable[[UpstreamSettings], Backend]


UPSTREAMS: tuple[Upstream, ...] = (
    Upstream("openai", openai.build),
    Upstream("azure", openai.build_azure),
    Upstream("anthropic", anthropic.build),
)


def upstream(settings: UpstreamSettings) -> Backend:
    """Build the upstream of a section.

    Raises
    ------
    ConfigurationError
        There is no such kind, a key is missing or ``url`` is not a usable URL.
    """
    return row_named(settings.kind, "kind of upstream", UPSTREAMS).build(settings)
