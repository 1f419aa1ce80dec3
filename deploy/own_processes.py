"""Questions to our own processes, with an HTTP client that never uses a proxy, whatever the environment says."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx


@cache
def client() -> httpx.Client:
    """The client for our own processes, shared because each new client loads all CA certificates.

    ``trust_env`` is off: a proxy (``HTTP_PROXY``) cannot reach our ports, and a wrong ``SSL_CERT_FILE`` must not matter.
    """
    return httpx.Client(trust_env=False, timeout=2.0, limits=httpx.Limits(max_keepalive_connections=0))


def lives(url: str, timeout: float = 2.0) -> bool:
    """Whether the process at ``url`` answers at all."""
    try:
        return client().get(f"{url}/healthz", timeout=timeout).status_code == 200
    except httpx.HTTPError:
        return False


def is_ready(url: str) -> bool:
    """Whether the process at ``url`` reports that it is ready."""
    return not why_not_ready(url)


def why_not_ready(url: str) -> str:
    """The reasons that the process at ``url`` gives for not being ready; empty if it is."""
    try:
        answer = client().get(f"{url}/readyz")
        if answer.status_code == 200:
            return ""
        reasons: Mapping[str, Any] = answer.json()["reasons"]
        return "; ".join(str(reason) for reason in reasons.values())
    except httpx.HTTPError:
        return "it does not answer yet"
    except (ValueError, KeyError, AttributeError, TypeError):
        return "it reports that it is not ready"
