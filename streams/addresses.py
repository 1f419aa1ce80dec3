"""Addresses of the processes of the loop, by their settings."""

from typing import Any

from storage.settings import Settings, sections


def url_of(settings: Settings, process: str) -> str:
    """Where ``process`` listens."""
    section: Any = settings.section(process, sections()[process])
    return f"http://{section.host}:{section.port}"
