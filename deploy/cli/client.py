"""HTTP calls to a running hub."""

from typing import Any

import httpx

from access.own import own_client
from deploy.own_processes import client
from storage.errors import FeedbackLoopError, NotReachable
from storage.settings import Settings
from streams.addresses import url_of


def get(settings: Settings, path: str, **parameters: Any) -> dict[str, Any]:
    """The hub's JSON answer.

    Raises
    ------
    NotReachable
        No hub answers there.
    FeedbackLoopError
        The hub refused; with its message.
    """
    answer: dict[str, Any] = _request(settings, "GET", path, params=parameters).json()
    return answer


def post(settings: Settings, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """As :func:`get`, with a JSON body."""
    answer: dict[str, Any] = _request(settings, "POST", path, json=body).json()
    return answer


def get_bytes(settings: Settings, path: str, **parameters: Any) -> bytes:
    """The hub's answer as bytes."""
    return _request(settings, "GET", path, params=parameters).content


def hub_runs(settings: Settings) -> bool:
    """Whether a hub answers where the settings say."""
    try:
        client().get(f"{url_of(settings, 'hub')}/healthz")
    except httpx.ConnectError:
        return False
    except httpx.HTTPError:
        return True
    return True


def _request(settings: Settings, method: str, path: str, **arguments: Any) -> httpx.Response:
    hub = url_of(settings, "hub")
    try:
        with own_client(settings, "cli", "hub", timeout=300) as http:
            answer = http.request(method, path, **arguments)
    except httpx.HTTPError as error:
        raise NotReachable(f"no hub answers at {hub}: start one with 'feedbackloop up' ({error})") from error
    if answer.is_error:
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.text[:500]
        raise FeedbackLoopError(f"the hub refused: {message}")
    return answer
