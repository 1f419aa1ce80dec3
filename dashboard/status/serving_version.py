"""Which version answers candidates, as serving itself says: the champion of the log may still be loading, or may not be there to load."""

import threading
from collections.abc import Callable

import httpx

from storage.settings import Settings

EVERY = 5.0  # seconds between questions
PORT = 8000


def serving_url(settings: Settings) -> str:
    """Where these settings have serving listen; empty where it passes chats on to another server and has no version of its own."""
    section = settings.sections.get("serving", {})
    return "" if section.get("upstream_url") else f"http://{section.get('host', '127.0.0.1')}:{section.get('port', PORT)}"


class ServingVersion:
    """Asks in a thread of its own; ``changed`` is called when the answer is another one."""

    def __init__(self, url: str, changed: Callable[[], None]) -> None:
        self._url, self._changed = url, changed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="serving-version", daemon=True)
        self.version: str | None = None

    def start(self) -> None:
        if self._url:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _follow(self) -> None:
        with httpx.Client(timeout=2.0, trust_env=False) as client:  # our own process: no proxy of the surroundings stands between
            while not self._stop.is_set():
                found = self._ask(client)
                if found != self.version:
                    self.version = found
                    self._changed()
                self._stop.wait(EVERY)

    def _ask(self, client: httpx.Client) -> str | None:
        """The first of the models that it lists, where it has loaded one."""
        try:
            if not client.get(f"{self._url}/readyz").is_success:
                return None
            return str(client.get(f"{self._url}/v1/models").raise_for_status().json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return None
