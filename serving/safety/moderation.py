"""Filter ``moderation``: an endpoint that speaks OpenAI's ``/moderations``. All texts of one step are sent in one request."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from serving.safety.filter import Action, Finding
from serving.safety.settings import SafetySettings
from storage.errors import ConfigurationError
from storage.events import Message
from streams.health import is_loopback
from streams.http.visible_text import one_line

log = logging.getLogger(__name__)

UNAVAILABLE = "unavailable"
MAX_SENT = 32  # texts in a request


def build(settings: SafetySettings) -> "Moderation":
    """Build the filter from the settings.

    Raises
    ------
    ConfigurationError
        ``moderation_url`` is not a URL.
    """
    return Moderation(settings)


class Moderation:
    """Asks the endpoint; ``transport`` and ``clock`` are replaced in tests."""

    def __init__(
        self, settings: SafetySettings, transport: httpx.AsyncBaseTransport | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        url = httpx.URL(settings.moderation_url)
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            raise ConfigurationError(
                "[safety] moderation_url: not an http or https URL, or one with a password; the key goes into moderation_key"
            )
        key = settings.moderation_key.get_secret_value()
        self._url = f"{str(url).rstrip('/')}/moderations"
        self._model = settings.moderation_model
        self._down: Action = "flag" if settings.moderation_on_error == "pass" else "block"
        self._timeout = settings.moderation_timeout
        self._pause, self._clock = settings.moderation_pause, clock
        self._ask_again_at = 0.0
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=settings.moderation_timeout,
            transport=transport,
            trust_env=not is_loopback(url.host),
        )

    async def find(self, texts: Sequence[str], conversation: Sequence[Message]) -> list[list[Finding]]:
        """The flagged categories of each text; ``unavailable`` where the endpoint did not answer."""
        spoken = [(place, text) for place, text in enumerate(texts) if text.strip()]
        found: list[list[Finding]] = [[] for _ in texts]
        for first in range(0, len(spoken), MAX_SENT):
            places, sent = zip(*spoken[first : first + MAX_SENT], strict=True)
            for place, findings in zip(places, await self._asked(sent), strict=True):
                found[place] = findings
        return found

    async def close(self) -> None:
        await self._client.aclose()

    async def _asked(self, texts: Sequence[str]) -> list[list[Finding]]:
        unavailable = [[Finding(UNAVAILABLE, self._down)] for _ in texts]
        if self._clock() < self._ask_again_at:
            return unavailable
        try:
            async with asyncio.timeout(self._timeout):  # httpx's own limits each read, not the whole answer
                answer = await self._client.post(self._url, json={"model": self._model, "input": list(texts)})
            answer.raise_for_status()
            return _findings(answer.json(), len(texts))
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            self._ask_again_at = self._clock() + self._pause
            log.warning("the moderation endpoint does not answer (%s): %s", type(error).__name__, one_line(str(error)))
            return unavailable


def _findings(body: Any, count: int) -> list[list[Finding]]:
    """The flagged categories of each result; raises ``ValueError`` for another shape."""
    results = body.get("results") if isinstance(body, dict) else None
    if not isinstance(results, list) or len(results) != count or not all(isinstance(each, dict) for each in results):
        raise ValueError(f"the answer does not hold {count} results")
    return [_of_result(result) for result in results]


def _of_result(result: dict[str, Any]) -> list[Finding]:
    if not isinstance(result.get("flagged"), bool):
        raise ValueError("a result without 'flagged'")
    categories = result.get("categories")
    named = sorted(name for name, flagged in categories.items() if flagged is True) if isinstance(categories, dict) else []
    return [Finding(name) for name in dict.fromkeys(map(_identifier, named or ["flagged"]))] if result["flagged"] else []


def _identifier(name: str) -> str:
    """A category's name, such as ``harassment/threatening``, as an identifier of an event."""
    return re.sub(r"[^A-Za-z0-9_.-]", ".", name).strip("._-")[:128] or "flagged"
