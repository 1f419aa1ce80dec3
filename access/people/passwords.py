"""Passwords of local accounts: argon2id, off the event loop, two at a time, since each takes 64 MiB and tens of milliseconds."""

import asyncio
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from storage.errors import InputRefused

SHORTEST, LONGEST = 12, 256  # characters
AT_ONCE = 2


def hashed(password: str) -> str:
    """The password's argon2id hash; raises :class:`InputRefused` if it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InputRefused(f"password: it has {len(password)} characters; choose one of {SHORTEST} to {LONGEST}", "password")
    return _hasher().hash(password)


class PasswordCheck:
    """Compares passwords with hashes."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def agree(self, password: str, expected: str) -> bool:
        """Whether the password has this hash. Without one the answer is no, after the same time: it must not tell which logins exist."""
        async with self._places:
            return await asyncio.to_thread(_agree, password[:LONGEST], expected) and len(password) <= LONGEST


def _agree(password: str, expected: str) -> bool:
    right = _hasher().verify(password, expected or _of_nobody())
    return right and expected != ""


@cache
def _hasher() -> PasswordHash:
    return PasswordHash((Argon2Hasher(),))


@cache
def _of_nobody() -> str:
    return _hasher().hash("nobody's password")
