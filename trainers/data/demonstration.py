"""A reply to imitate: what SFT trains on."""

from dataclasses import dataclass

from storage.events import Message, Source, Stratum
from storage.strata import conversation_of, stratum_of


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A prompt and the reply that a person wrote, or chose as an example.

    Attributes
    ----------
    conversation_id : key of the split into strata
    """

    prompt: tuple[Message, ...]
    reply: str
    stratum: Stratum
    conversation_id: str
    source: Source = "import"

    @classmethod
    def of_reply(cls, prompt: tuple[Message, ...], reply: str, source: Source = "import") -> "Demonstration":
        """From a record without a conversation; the first user message decides the stratum, as for preferences."""
        conversation = conversation_of(prompt)
        return cls(prompt, reply, stratum_of(conversation), conversation, source)
