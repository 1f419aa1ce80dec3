"""What serving reports of itself: which version answers candidates, which may not be the champion yet, and which reward model ranks."""

import threading
from collections.abc import Callable

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.settings import Settings
from streams.addresses import url_of

POLL_INTERVAL = 5.0  # seconds


def serving_url(settings: Settings) -> str:
    """Serving's address by these settings; empty if it forwards chats to an upstream and has no version of its own."""
    return "" if settings.sections.get("upstream", {}).get("url") else url_of(settings, "serving")


class Ranker(BaseModel):
    """The reward model that serving ranks by; ``reason`` says why none does. Fields of later versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    kind: str | None = None
    reason: str | None = None
    best_of: int = 1


class ServingVersion:
    """Polls serving in its own thread; calls ``changed`` when the version changes."""

    def __init__(self, url: str, changed: Callable[[], None]) -> None:
        self._url, self._changed = url, changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="serving-version", daemon=True)
        self.version: str | None = None
        self.ranker: Ranker | None = None

    def start(self) -> None:
        if self._url:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _poll(self) -> None:
        with httpx.Client(timeout=2.0, trust_env=False) as client:  # our own process: ignore proxies of the environment
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
            if not client.get(f"{self._url}/readyz").is_success:
                return None
            return str(client.get(f"{self._url}/v1/models").raise_for_status().json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return None

    def _ask_ranker(self, client: httpx.Client) -> Ranker | None:
        """What ranks; None if serving does not say."""
        try:
            return Ranker.model_validate_json(client.get(f"{self._url}/v1/rerank").raise_for_status().content)
        except (httpx.HTTPError, ValidationError):
            return None
