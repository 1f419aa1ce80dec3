"""Addresses of the processes of the loop, by their settings."""

import ipaddress
from typing import Any

from storage.settings import Settings, sections


def url_of(settings: Settings, process: str) -> str:
    """Where ``process`` listens, for calls from this machine."""
    section, access = (_section(settings, name) for name in (process, "access"))
    scheme = "https" if access.tls_certificate is not None and process in ("serving", "hub") else "http"
    return f"{scheme}://{_reachable(section.host)}:{section.port}"


def _reachable(host: str) -> str:
    """The host itself, or loopback where it means every address of this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def _section(settings: Settings, name: str) -> Any:
    return settings.section(name, sections()[name])
