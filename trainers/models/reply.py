"""A generated reply."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenLogprob:
    """A token of a reply with its log-probability, and those of the likeliest tokens in its place, the likeliest first.

    Log-probabilities are the model's own, before temperature and penalties.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """Text that was added to a reply, and the tokens that it came from if their log-probabilities were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Reply:
    """A complete reply; ``finish_reason`` is ``stop`` or ``length``. ``logprobs`` is None if nobody asked for them."""

    text: str
    version: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: tuple[TokenLogprob, ...] | None = None
