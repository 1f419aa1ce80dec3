"""Paths and URLs in settings: made absolute when they are read, and shown without credentials."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

SQLITE = "sqlite:///"


def full_path(path: str | Path) -> Path:
    """Return ``path`` as an absolute path, with ``~`` expanded.

    Raises
    ------
    ValueError
        It begins with ``~name`` and there is no such user.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError("begins with ~ and the name of an unknown user; use an absolute path")
    return Path(os.path.abspath(expanded))


def user_cache() -> Path:
    """The folder for files that can be fetched or computed again: ``$XDG_CACHE_HOME/feedbackloop``, by default in ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "feedbackloop"


def full_place(text: str) -> str:
    """Make a path, ``sqlite:///`` or ``file://`` URL absolute; other URLs and the empty string are returned unchanged."""
    if text.startswith(SQLITE):
        return f"{SQLITE}{full_path(text.removeprefix(SQLITE))}"
    if not text or ("://" in text and not text.startswith("file://")):
        return text
    return str(full_path(text.removeprefix("file://")))


def full_model(text: str) -> str:
    """Make a model folder absolute; names (``shipped``, a Hugging Face id) are returned unchanged."""
    return str(full_path(text)) if text.startswith(("~", "/", ".")) or Path(text).is_dir() else text


def _full(value: object) -> object:
    return full_path(value) if isinstance(value, str | Path) and str(value) else value


FullPath = Annotated[Path, BeforeValidator(_full)]


def shown(url: str) -> str:
    """``url`` without user, password and query, for messages."""
    return re.sub(r"(://)[^/?#]*@", r"\1", url).split("?")[0]
