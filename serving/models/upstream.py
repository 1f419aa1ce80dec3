"""What all upstreams share, whichever protocol they speak."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.models.backend import ALIASES, Answer, Choice
from serving.models.connection import Connection
from serving.models.upstream_settings import UpstreamSettings
from storage.errors import ConfigurationError, UpstreamError
from storage.events import MAX_TEXT


class UpstreamBackend:
    """The part of a ``Backend`` that does not depend on the protocol of the server behind ``connection``."""

    honoured: frozenset[str] | None = None

    def __init__(self, connection: Connection, settings: UpstreamSettings, width: int = 4) -> None:
        self.width = width
        self._connection, self._settings = connection, settings

    def why_not_ready(self) -> str | None:
        return None

    def names(self) -> tuple[str, ...]:
        return (self._settings.model, *ALIASES)

    async def close(self) -> None:
        await self._connection.close()

    def _answered(self, choices: Sequence[Choice], usage: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Answer:
        """The answer, unless an event could not hold it."""
        if any(len(choice.text) > MAX_TEXT for choice in choices):
            raise UpstreamError(f"the upstream server's reply has more than {MAX_TEXT:,} characters")
        return Answer(self._settings.model, choices, usage, more or {})

    def _aborted(self, error: Any) -> UpstreamError:
        """For the ``error`` that a response with status 200 contains."""
        return UpstreamError(self._connection.redact(f"the upstream server aborted the reply: {mapping(error).get('message') or error}"))


def require(settings: UpstreamSettings, *more: str) -> None:
    """Raise :class:`ConfigurationError` for a missing key of the section."""
    for name in ("model", *more):
        if not getattr(settings, name):
            raise ConfigurationError(f"[{settings.section}] url is set but {name} is not; set it for kind = {settings.kind!r}")


def text_of(content: Any) -> str:
    """The text of a message's content, which may be a list of parts; thinking is left out, and NUL, which events do not accept."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") in ("text", "output_text"))
        content = "".join(text for text in parts if isinstance(text, str))
    return content.replace("\x00", "") if isinstance(content, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}
