"""Passwords of local accounts: argon2id, off the event loop, two at a time, since each takes 64 MiB and tens of milliseconds."""

import asyncio
from collections.abc import Iterable
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from storage.errors import InputRefused

SHORTEST, LONGEST = 12, 256  # characters
AT_ONCE = 2
ESTIMATED = 72  # characters by which a password is judged: zxcvbn takes no more, since its time grows with their square
HARD_TO_GUESS = 3  # of zxcvbn's 0 to 4: a hundred million guesses


def hashed(password: str, about: Iterable[str] = ()) -> str:
    """The password's argon2id hash.

    Raises
    ------
    InputRefused
        It is too short, too long, or easy to guess: among common passwords, words, names, dates and patterns, or ``about`` its owner.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise InputRefused(f"password: it has {len(password)} characters; choose one of {SHORTEST} to {LONGEST}", "password")
    if _is_easy(password, about):
        text = "password: it is easy to guess: a common one, or of common words, names, dates or keys; choose words that do not go together"
        raise InputRefused(text, "password")
    return _hasher().hash(password)


class PasswordCheck:
    """Compares passwords with hashes."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    async def agree(self, password: str, expected: str) -> bool:
        """Whether the password has this hash. Without one the answer is no, after the same time: it must not tell which logins exist."""
        async with self._places:
            return await asyncio.to_thread(_agree, password[:LONGEST], expected) and len(password) <= LONGEST


def _is_easy(password: str, about: Iterable[str]) -> bool:
    from zxcvbn import zxcvbn  # its lists take a while to load

    words = ["feedbackloop", *(word for text in about for word in (text, *text.split()))]
    score: int = zxcvbn(password[:ESTIMATED], user_inputs=words)["score"]
    return score < HARD_TO_GUESS


def _agree(password: str, expected: str) -> bool:
    right = _hasher().verify(password, expected or _of_nobody())
    return right and expected != ""


@cache
def _hasher() -> PasswordHash:
    return PasswordHash((Argon2Hasher(),))


@cache
def _of_nobody() -> str:
    return _hasher().hash("nobody's password")
