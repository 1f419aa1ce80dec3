"""``feedbackloop settings``: every effective setting and its origin, in the format of ``feedbackloop.toml``."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from storage.places import shown
from storage.settings import Settings

MASK = "********"


def as_toml(settings: Settings) -> str:
    """The settings with their origins, one a line; secrets are masked, credentials in URLs removed."""
    lines: list[str] = []
    section = ""
    for each in settings.effective():
        if each.section != section:
            section = each.section
            lines += ["", f"[{section}]"]
        value = _plain(each.value)
        line = f"{each.key} = {_toml_value(value)}" if value is not None else f"# {each.key} is not set"
        lines.append(f"{line}  # {each.origin}")
    return "\n".join(lines)


def as_json(settings: Settings) -> dict[str, Any]:
    """The same as ``{section: {key: {"value", "origin"}}}``, the top level under ""."""
    found: dict[str, Any] = {}
    for each in settings.effective():
        found.setdefault(each.section, {})[each.key] = {"value": _plain(each.value), "origin": each.origin}
    return found


def _plain(value: Any) -> Any:
    """A value without secrets, as a JSON type."""
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, BaseModel):
        return {name: _plain(inner) for name, inner in value}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str) and "://" in value:
        return shown(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {_toml_value(each)}" for name, each in value.items() if each is not None)
        return f"{{ {inner} }}"
    return json.dumps(value, ensure_ascii=False)
