"""Writes the files of an audit pack into a folder."""

from collections.abc import Mapping
from pathlib import Path

from storage.errors import ConfigurationError


def write_files(out: Path, files: Mapping[str, str]) -> list[Path]:
    """Write each text under its name and return the paths.

    Raises
    ------
    ConfigurationError
        The folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from error
    return [out / name for name in files]
