"""What serving reports of itself: which version answers candidates, which may not be the champion yet, and which reward model ranks."""

import threading
from collections.abc import Callable

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import AttestationError
from storage.settings import Settings

POLL_INTERVAL = 5.0  # seconds


def has_upstream(settings: Settings) -> bool:
    """Whether serving, by these settings, forwards chats to an upstream and has no version of its own."""
    return bool(settings.sections.get("upstream", {}).get("url"))


class Ranker(BaseModel):
    """The reward model that serving ranks by; ``reason`` says why none does. Fields of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    kind: str | None = None
    reason: str | None = None
    best_of: int = 1


class ServingVersion:
    """Polls serving in its own thread; calls ``changed`` when the version changes. ``connect`` makes a client, if there is a version."""

    def __init__(self, connect: Callable[[], httpx.Client] | None, changed: Callable[[], None]) -> None:
        self._connect, self._changed = connect, changed
        self._stop = threading.Event()
        self.version: str | None = None
        self.ranker: Ranker | None = None

    def start(self) -> None:
        if self._connect is not None:
            threading.Thread(target=self._poll, args=(self._connect,), name="serving-version", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def _poll(self, connect: Callable[[], httpx.Client]) -> None:
        with connect() as client:
            while not self._stop.is_set():
                found = self._ask(client)
                if found != self.version:
                    self.version = found
                    self._changed()
                self.ranker = self._ask_ranker(client)
                self._stop.wait(POLL_INTERVAL)

    def _ask(self, client: httpx.Client) -> str | None:
        """The first model that serving lists; None if it is not ready."""
        try:
            if not client.get("/readyz").is_success:
                return None
            return str(client.get("/v1/models").raise_for_status().json()["data"][0]["id"])
        except (httpx.HTTPError, AttestationError, ValueError, LookupError, TypeError):
            return None

    def _ask_ranker(self, client: httpx.Client) -> Ranker | None:
        """What ranks; None if serving does not say."""
        try:
            return Ranker.model_validate_json(client.get("/v1/rerank").raise_for_status().content)
        except (httpx.HTTPError, AttestationError, ValidationError):
            return None
