"""The interface between the chat API and a language model.

``local`` generates replies with transformers in this process; ``openai`` calls any server that speaks OpenAI's protocol.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from storage.errors import FeedbackLoopError
from storage.events import Message, Sampling
from trainers.models.reply import Reply

ALIASES = ("champion", "feedbackloop")  # model names that resolve to whichever version is serving


class NotReady(FeedbackLoopError):
    """No model is loaded yet (503, retry)."""


class Unavailable(FeedbackLoopError):
    """The challenger does not reply: its duel has ended, or it is not loaded."""


class Answering(Protocol):
    """A language model that replies. Methods are called from the event loop."""

    async def complete(self, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
        """Generate one reply; ``patient`` requests have lower priority than all others.

        Raises
        ------
        InputRefused
            The prompt does not fit the model.
        Overloaded, NotReady
            The queue is full; no model is loaded yet.
        UpstreamError
            The upstream server failed.
        Unavailable
            It is the challenger of a duel that has ended.
        """

    def stream(self, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        """Yield pieces of text as they are generated, then the complete reply; raises as :meth:`complete` does."""


class Backend(Answering, Protocol):
    """The language model of a serving process."""

    width: int  # maximum number of second responses generated concurrently

    def why_not_ready(self) -> str | None:
        """Why the backend cannot reply yet; ``None`` when it is ready."""

    def names(self) -> tuple[str, ...]:
        """Model names that a client may request; the version that is serving comes first."""

    async def close(self) -> None: ...
