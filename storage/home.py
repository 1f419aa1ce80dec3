"""The folder of everything that a service writes: for its owner alone, since candidates' words and the pseudonyms' key lie in it."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from storage.errors import ConfigurationError, temporary_reason

OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What a service writes directly in its home. Whatever else lies there is somebody else's, and its mode is left alone.
FILES = ("*.sqlite*", "*.duckdb*", "*.lock", "*.key")
FOLDERS = ("artifacts", "demo", "faust", "freezing", "learner", "logs", "runs", "serving", "trainers")
MEND = "make it writable, or set FEEDBACKLOOP_HOME to another folder"


def open_home(home: Path) -> Path:
    """``home``, made where it was missing, with mode 0700. One that others could read is closed to them, and our files in it.

    Raises
    ------
    ConfigurationError
        It cannot be made, or this program may not write there.
    OSError
        Something that passes by itself, such as a full disk.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if home.stat().st_mode & OTHERS:
            for path in (home, *_ours(home)):
                _close_to_others(path)
    except OSError as error:
        if temporary_reason(error):
            raise
        raise ConfigurationError(f"home = {home}: {error.strerror}; {MEND}") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise ConfigurationError(f"home = {home}: this program may not write there; {MEND}")
    return home


@contextmanager
def held(path: Path, taken: str) -> Iterator[None]:
    """Hold the lock file ``path`` for as long as the block runs; a process that is killed lets go of it.

    Raises
    ------
    ConfigurationError
        Another process holds it: ``taken`` says what to do.
    """
    try:
        with FileLock(path, blocking=False, thread_local=False):
            yield
    except Timeout as error:
        raise ConfigurationError(taken) from error


def _ours(home: Path) -> Iterator[Path]:
    for pattern in (*FILES, *FOLDERS):
        for path in home.glob(pattern):
            if not path.is_symlink():
                yield path
                yield from (below for below in path.rglob("*") if not below.is_symlink())


def _close_to_others(path: Path) -> None:
    """Take away what others may do; where the path belongs to another user, leave it as that user made it."""
    with suppress(PermissionError, FileNotFoundError):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~OTHERS)
