"""Whether our own processes live and are ready."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx

from storage.errors import AttestationError

NOT_READY = "it reports that it is not ready"


@cache
def client() -> httpx.Client:
    """The client for our own processes, shared because it takes a while to make one.

    ``trust_env`` is off: a proxy (``HTTP_PROXY``) cannot reach our ports, and a wrong ``SSL_CERT_FILE`` must not matter. Certificates
    are not checked: anybody may ask what is asked with it, and nothing secret is sent.
    """
    return httpx.Client(trust_env=False, verify=False, timeout=2.0, limits=httpx.Limits(max_keepalive_connections=0))


def lives(url: str, timeout: float = 2.0) -> bool:
    """Whether the process at ``url`` answers at all."""
    try:
        return client().get(f"{url}/healthz", timeout=timeout).status_code == 200
    except httpx.HTTPError:
        return False


def is_ready(url: str) -> bool:
    """Whether the process at ``url`` reports that it is ready."""
    try:
        return client().get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def why_not_ready(process: httpx.Client) -> str:
    """The reasons that a process gives for not being ready, asked by :func:`access.own.own_client`; empty if it is."""
    try:
        answer = process.get("/readyz")
        if answer.status_code == 200:
            return ""
        reasons: Mapping[str, Any] = answer.json().get("reasons", {})  # left out where callers need a key
        return "; ".join(str(reason) for reason in reasons.values()) or NOT_READY
    except AttestationError as error:  # the hub makes the key at its first start
        return f"it is not asked yet: {error}"
    except httpx.HTTPError:
        return "it does not answer yet"
    except (ValueError, KeyError, AttributeError, TypeError):
        return NOT_READY
