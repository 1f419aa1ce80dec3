"""What a language model has said."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """A whole reply and what OpenAI's protocol tells about it; it ended by ``stop`` or by ``length``."""

    text: str
    version: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
