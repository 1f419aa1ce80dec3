"""The service's home directory. Only its owner may read it, since it holds candidates' messages and the pseudonym key."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from storage.errors import ConfigurationError, temporary_reason

GROUP_AND_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What a service writes directly into its home. Modes of other files there are left alone.
FILES = ("access.json", "*.sqlite*", "*.duckdb*", "*.lock", "*.key")
FOLDERS = ("artifacts", "demo", "faust", "freezing", "keys", "learner", "logs", "model-signatures", "runs", "serving", "trainers")
HINT = "make it writable, or set FEEDBACKLOOP_HOME to another folder"


def open_home(home: Path) -> Path:
    """Create ``home`` with mode 0700 if it is missing; if others can read it, restrict it and the service's files in it to the owner.

    Raises
    ------
    ConfigurationError
        It cannot be created, or is not writable.
    OSError
        A transient error, such as a full disk.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        if home.stat().st_mode & GROUP_AND_OTHERS:
            for path in (home, *_own_paths(home)):
                _restrict_to_owner(path)
    except OSError as error:
        if temporary_reason(error):
            raise
        raise ConfigurationError(f"home = {home}: {error.strerror}; {HINT}") from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise ConfigurationError(f"home = {home}: this program may not write there; {HINT}")
    return home


@contextmanager
def held(path: Path, taken: str) -> Iterator[None]:
    """Hold the lock file ``path`` while the block runs; the lock is released if the process is killed.

    Raises
    ------
    ConfigurationError
        Another process holds it; ``taken`` is the message.
    """
    try:
        with FileLock(path, blocking=False, thread_local=False):
            yield
    except Timeout as error:
        raise ConfigurationError(taken) from error


def _own_paths(home: Path) -> Iterator[Path]:
    for pattern in (*FILES, *FOLDERS):
        for path in home.glob(pattern):
            if not path.is_symlink():
                yield path
                yield from (below for below in path.rglob("*") if not below.is_symlink())


def _restrict_to_owner(path: Path) -> None:
    """Remove all permissions of group and others; paths owned by another user are left alone."""
    with suppress(PermissionError, FileNotFoundError):
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~GROUP_AND_OTHERS)
