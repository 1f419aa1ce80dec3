"""What the chat API asks of a language model, wherever that runs, and the one place that chooses between the two kinds.

``local`` draws replies with transformers in this process; ``upstream`` asks any server that speaks OpenAI's protocol.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from storage.errors import FeedbackLoopError
from storage.events import Message, Sampling
from trainers.models.reply import Reply

ALIASES = ("champion", "feedbackloop")  # the model names that mean: whichever version serves


class NotReady(FeedbackLoopError):
    """No model is loaded yet; try again in a moment (503)."""


class Backend(Protocol):
    """A language model that replies. Its methods are called from the event loop."""

    width: int  # how many second responses may be drawn at a time

    def why_not_ready(self) -> str | None:
        """The reason why no reply can be drawn yet; ``None`` when it can."""

    def names(self) -> tuple[str, ...]:
        """The model names that a client may ask for; the version that serves comes first."""

    async def complete(self, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
        """One reply; a ``patient`` one is drawn only while no other waits.

        Raises
        ------
        InputRefused
            The prompt does not fit the model.
        Overloaded, NotReady
            Too many wait already; no model is loaded yet.
        UpstreamError
            The server behind it failed.
        """

    def stream(self, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        """Pieces of text as they are drawn, then the whole reply; raises as :meth:`complete` does."""

    async def close(self) -> None: ...
