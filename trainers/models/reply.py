"""A generated reply."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """A complete reply with the fields of OpenAI's protocol; ``finish_reason`` is ``stop`` or ``length``."""

    text: str
    version: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
