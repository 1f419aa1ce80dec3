"""Wakes the readers of the SQLite log in other threads and processes: a datagram to each unix socket in a folder.

A bell only says that looking may pay, and on which topics; nothing is lost when one is not heard, because readers look every 50 ms anyway.
"""

import hashlib
import os
import secrets
import select
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path

LONGEST = 100  # bytes of a unix socket's path that every system takes (macOS: 104)


def bell_folder(log: Path) -> Path:
    """The folder of the log's bells: beside the file, or where that path is too long for a socket, a short one in the temporary folder."""
    beside = log.with_name(log.name + "-bells")
    if len(os.fsencode(beside)) + 1 + len(_new_name()) <= LONGEST:
        return beside
    return Path(tempfile.gettempdir()) / f"fbl-{os.getuid()}-{hashlib.sha256(os.fsencode(log)).hexdigest()[:16]}"


class Bell:
    """What one waiting reader listens on; silent, and the reader polls, where the system gives no unix socket."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _new_name()
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._socket.setblocking(False)
            self._socket.bind(str(self._path))
        except OSError:
            self._socket.close()
            self._socket = None

    def hush(self) -> None:
        """Forget what has rung so far."""
        while self._heard() is not None:
            pass

    def wait(self, seconds: float, topics: Collection[str]) -> bool:
        """True as soon as it rings for one of the topics; False when it rang for others or after ``seconds``."""
        if self._socket is None:
            select.select([], [], [], seconds)
            return False
        if not select.select([self._socket], [], [], seconds)[0]:
            return False
        heard = self._heard()
        return heard is not None and not heard.isdisjoint(topics)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._socket = None

    def _heard(self) -> set[str] | None:
        if self._socket is None:
            return None
        try:
            return set(self._socket.recv(4096).decode().split(","))
        except BlockingIOError:
            return None


class Ringer:
    """Rings every bell of a folder; lists the folder again when it has changed, and clears away the bells of dead processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = -1
        self._bells: list[str] = []

    def ring(self, topics: Collection[str]) -> None:
        try:
            changed = os.stat(self._folder).st_mtime_ns
            if changed != self._changed:
                self._bells = [entry.path for entry in os.scandir(self._folder) if entry.name.endswith(".bell")]
                self._changed = changed
        except FileNotFoundError:  # nobody has listened yet
            return
        message = ",".join(sorted(topics)).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            for bell in self._bells:
                try:
                    sender.sendto(message, bell)
                except BlockingIOError:  # its reader has enough rings waiting
                    continue
                except ConnectionRefusedError:  # its process is dead
                    Path(bell).unlink(missing_ok=True)
                    self._changed = -1
                except OSError:  # gone since the folder was listed, or full (macOS)
                    self._changed = -1


def _new_name() -> str:
    return f"{secrets.token_hex(6)}.bell"
