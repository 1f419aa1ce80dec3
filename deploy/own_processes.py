"""Where our own processes listen, and how they are asked: never through a proxy, whatever the surroundings say."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx
from pydantic import BaseModel

from storage.settings import Settings

DEFAULT_PORTS = {"serving": 8000, "hub": 8050, "processor": 8051, "trainer": 8052}


class Address(BaseModel):
    """The part of a process's section that is read here."""

    host: str = "127.0.0.1"
    port: int


def url_of(settings: Settings, process: str) -> str:
    """Where ``process`` listens."""
    values = {"port": DEFAULT_PORTS[process]} | dict(settings.sections.get(process, {}))
    address = settings.with_values(**{process: values}).section(process, Address)
    return f"http://{address.host}:{address.port}"


@cache
def client() -> httpx.Client:
    """For every question to our own processes. One for all: a client of its own would first load the certificates of every authority.

    ``trust_env`` is off: a proxy of the surroundings (``HTTP_PROXY``) does not know our ports, and a wrong ``SSL_CERT_FILE`` is no matter.
    """
    return httpx.Client(trust_env=False, timeout=2.0, limits=httpx.Limits(max_keepalive_connections=0))


def lives(url: str, timeout: float = 2.0) -> bool:
    """Whether the process at ``url`` answers at all."""
    try:
        return client().get(f"{url}/healthz", timeout=timeout).status_code == 200
    except httpx.HTTPError:
        return False


def is_ready(url: str) -> bool:
    """Whether the process at ``url`` says that it is ready."""
    return not why_not_ready(url)


def why_not_ready(url: str) -> str:
    """What the process at ``url`` waits for, in its own words; empty where it is ready."""
    try:
        answer = client().get(f"{url}/readyz")
        if answer.status_code == 200:
            return ""
        reasons: Mapping[str, Any] = answer.json()["reasons"]
        return "; ".join(str(reason) for reason in reasons.values())
    except httpx.HTTPError:
        return "it does not answer yet"
    except (ValueError, KeyError, AttributeError, TypeError):
        return "it says that it is not ready"
