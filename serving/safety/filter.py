"""What a safety filter is: a function from texts to what it objects to, and what is done about it."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from storage.events import Message

Action = Literal["off", "flag", "replace", "block"]
Stage = Literal["question", "reply"]

IN_LOOP = 500  # characters that rules read in the event loop, in about a millisecond; longer texts are read in a thread
MAX_KNOWN = 20_000  # texts whose findings are remembered


class Finding(NamedTuple):
    """What a filter objects to, such as ``question.age``; ``action`` overrides the filter's setting."""

    name: str
    action: Action | None = None


class Filter(Protocol):
    """Reads what candidates send (whole messages) or replies (sentence by sentence)."""

    async def find(self, texts: Sequence[str], conversation: Sequence[Message]) -> Sequence[Sequence[Finding]]:
        """The findings of each text; ``conversation`` is what was said before."""
        ...

    async def close(self) -> None: ...


class ByRules:
    """A filter that needs nothing but the text: ``rules`` gives the names of the findings in it.

    Findings are remembered by a hash of the text, since clients send a conversation again with every turn.
    """

    def __init__(self, rules: Callable[[str], Sequence[str]]) -> None:
        self._rules = rules
        self._known: dict[bytes, tuple[Finding, ...]] = {}

    async def find(self, texts: Sequence[str], conversation: Sequence[Message]) -> list[tuple[Finding, ...]]:
        return [await self._find(text) for text in texts]

    async def close(self) -> None: ...

    async def _find(self, text: str) -> tuple[Finding, ...]:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if (known := self._known.get(digest)) is not None:
            return known
        names = self._rules(text) if len(text) <= IN_LOOP else await asyncio.to_thread(self._rules, text)
        found = tuple(Finding(name) for name in dict.fromkeys(names))
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[digest] = found
        return found
