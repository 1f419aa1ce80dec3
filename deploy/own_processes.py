"""Addresses of our own processes, and an HTTP client for them that never uses a proxy, whatever the environment says."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
from pydantic import BaseModel

from storage.settings import Settings

DEFAULT_PORTS = {"serving": 8000, "hub": 8050, "processor": 8051, "trainer": 8052}


class Address(BaseModel):
    """The keys of a process's section that are read here."""

    host: str = "127.0.0.1"
    port: int


def url_of(settings: Settings, process: str) -> str:
    """The URL that ``process`` listens on."""
    values = {"port": DEFAULT_PORTS[process]} | dict(settings.sections.get(process, {}))
    address = settings.with_values(**{process: values}).section(process, Address)
    return f"http://{address.host}:{address.port}"


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
