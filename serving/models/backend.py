"""The interface between the chat API and a language model.

``local`` generates replies with transformers in a process beside this one; the upstreams call other servers.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from storage.errors import FeedbackLoopError
from storage.events import Message, Sampling

ALIASES = ("champion", "feedbackloop")  # model names that resolve to whichever version is serving


class NotReady(FeedbackLoopError):
    """No model is loaded yet (503, retry)."""


class Unavailable(FeedbackLoopError):
    """The challenger does not reply: its duel has ended, or it is not loaded."""


@dataclass(frozen=True)
class Question:
    """What a model is asked.

    Attributes
    ----------
    prompt : the conversation as text
    sampling : how to draw
    n : number of replies
    top_logprobs : return the log-probability of each token and of so many likeliest ones; None returns none
    sent : the client's request as a body of ``/v1/chat/completions``; an upstream gets all of it, as it was sent
    """

    prompt: tuple[Message, ...]
    sampling: Sampling
    n: int = 1
    top_logprobs: int | None = None
    sent: Mapping[str, Any] = field(default_factory=dict)

    def again(self, seed: int, *, temperature: float | None, best_of: int = 1) -> "Question":
        """The same question for one other reply in text: with another seed where it has one, and at this temperature if it is not None."""
        drawn: dict[str, Any] = {"seed": seed, "best_of": best_of}
        sent = {name: value for name, value in self.sent.items() if name not in ("n", "logprobs", "top_logprobs")}
        if sent.get("seed") is not None:
            sent["seed"] = seed % 2**31
        if sent.get("tools"):
            sent["tool_choice"] = "none"  # the call of a tool cannot be judged
        if temperature is not None:
            drawn["temperature"] = temperature
            if sent.get("temperature") is not None:
                sent["temperature"] = temperature
        return replace(self, sampling=self.sampling.model_copy(update=drawn), n=1, top_logprobs=None, sent=sent)


@dataclass(frozen=True)
class Delta:
    """A part of a streamed choice, in OpenAI's fields of a ``delta``."""

    fields: Mapping[str, Any]
    index: int = 0
    logprobs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Choice:
    """One complete reply.

    Attributes
    ----------
    text : empty where the model called a tool instead
    more : other fields of OpenAI's ``message``, such as ``tool_calls``
    """

    text: str
    finish_reason: str
    more: Mapping[str, Any] = field(default_factory=dict)
    logprobs: Mapping[str, Any] | None = None

    @property
    def message(self) -> dict[str, Any]:
        """OpenAI's ``message``."""
        content = None if self.more.get("tool_calls") and not self.text else self.text
        return {"role": "assistant", "content": content, "refusal": None, **self.more}


@dataclass(frozen=True)
class Answer:
    """The complete answer to a question: ``n`` choices. ``usage`` has OpenAI's fields; ``more`` are others of the response's body."""

    version: str
    choices: Sequence[Choice]
    usage: Mapping[str, Any]
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text


def token_counts(prompt: int, completion: int) -> dict[str, int]:
    """OpenAI's ``usage``."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class Answering(Protocol):
    """A language model that replies. Methods are called from the event loop."""

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        """Answer a question; ``patient`` requests have lower priority than all others.

        Raises
        ------
        InputRefused
            The prompt does not fit the model, or asks for what it cannot do.
        Overloaded, NotReady
            The queue is full; no model is loaded yet.
        UpstreamError
            The upstream server failed.
        Unavailable
            It is the challenger of a duel that has ended.
        """

    def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        """Yield the parts of the answer as they are generated, then the whole; raises as :meth:`complete` does."""


class Backend(Answering, Protocol):
    """The language model of a serving process."""

    width: int  # maximum number of second responses generated concurrently
    honoured: frozenset[str] | None  # fields of a chat request that have an effect; None if all go to another server

    def why_not_ready(self) -> str | None:
        """Why the backend cannot reply yet; ``None`` when it is ready."""

    def names(self) -> tuple[str, ...]:
        """Model names that a client may request; the version that is serving comes first."""

    async def close(self) -> None: ...
