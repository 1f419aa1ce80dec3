"""Paths and URLs as settings give them: made full once, at the edge, and shown to people without the credentials in them."""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

SQLITE = "sqlite:///"


def full_path(path: str | Path) -> Path:
    """``path`` absolute, its ``~`` expanded.

    Raises
    ------
    ValueError
        It begins with ``~name``, and there is no such user.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ValueError("begins with ~ and the name of nobody on this machine; write the folder in full")
    return Path(os.path.abspath(expanded))


def full_place(text: str) -> str:
    """A path, or a URL: that of a file (``sqlite:///…``, ``file://…``) with its path in full, any other as it stands. Empty stays empty."""
    if text.startswith(SQLITE):
        return f"{SQLITE}{full_path(text.removeprefix(SQLITE))}"
    if not text or ("://" in text and not text.startswith("file://")):
        return text
    return str(full_path(text.removeprefix("file://")))


def full_model(text: str) -> str:
    """A model: in full where it is a folder, as it stands where it is a name (``shipped``, a Hugging Face id)."""
    return str(full_path(text)) if text.startswith(("~", "/", ".")) or Path(text).is_dir() else text


def _full(value: object) -> object:
    return full_path(value) if isinstance(value, str | Path) and str(value) else value


FullPath = Annotated[Path, BeforeValidator(_full)]


def shown(url: str) -> str:
    """``url`` without user, password and query, for messages."""
    return re.sub(r"(://)[^/?#]*@", r"\1", url).split("?")[0]
