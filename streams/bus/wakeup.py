"""Wakes readers of the SQLite log in other threads and processes: a datagram to each Unix socket ("bell") in a folder.

A bell is only a hint that topics have new entries; a lost datagram costs at most 50 ms, the readers' polling interval.
"""

import hashlib
import os
import secrets
import select
import socket
import tempfile
from collections.abc import Collection
from pathlib import Path

MAX_SOCKET_PATH = 100  # bytes, valid on every system (the limit on macOS is 104)


def bell_folder(log: Path) -> Path:
    """The folder of the log's sockets: beside the file, or in the temporary folder when that path is too long for a socket."""
    beside = log.with_name(log.name + "-bells")
    if len(os.fsencode(beside)) + 1 + len(_new_name()) <= MAX_SOCKET_PATH:
        return beside
    return Path(tempfile.gettempdir()) / f"fbl-{os.getuid()}-{hashlib.sha256(os.fsencode(log)).hexdigest()[:16]}"


class Bell:
    """The socket of one waiting reader. Where Unix sockets are unavailable it never rings, and the reader only polls."""

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

    def clear(self) -> None:
        """Discard pending wake-ups."""
        while self._receive() is not None:
            pass

    def wait(self, seconds: float, topics: Collection[str]) -> bool:
        """True as soon as it rings for one of the topics; False when it rings for others, or after ``seconds``."""
        if self._socket is None:
            select.select([], [], [], seconds)
            return False
        if not select.select([self._socket], [], [], seconds)[0]:
            return False
        rung = self._receive()
        return rung is not None and not rung.isdisjoint(topics)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._socket = None

    def _receive(self) -> set[str] | None:
        if self._socket is None:
            return None
        try:
            return set(self._socket.recv(4096).decode().split(","))
        except BlockingIOError:
            return None


class Ringer:
    """Rings every bell in a folder; re-reads the folder when it has changed and removes the sockets of dead processes."""

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
        except FileNotFoundError:  # no reader yet
            return
        message = ",".join(sorted(topics)).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            for bell in self._bells:
                try:
                    sender.sendto(message, bell)
                except BlockingIOError:  # the socket's buffer is full: its reader will wake anyway
                    continue
                except ConnectionRefusedError:  # the reader's process is dead
                    Path(bell).unlink(missing_ok=True)
                    self._changed = -1
                except OSError:  # removed since the folder was listed, or the buffer is full (macOS)
                    self._changed = -1


def _new_name() -> str:
    return f"{secrets.token_hex(6)}.bell"
