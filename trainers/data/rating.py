"""A recruiter's opinion of one reply: what the absolute term of a reward model is fitted to."""

from dataclasses import dataclass

from storage.events import Message, Source, Stratum
from storage.strata import conversation_of, stratum_of


@dataclass(frozen=True, slots=True)
class Rating:
    """Whether a reply is acceptable: a thumb, or one of the two replies of a pair judged "neither", which are not good.

    Attributes
    ----------
    conversation_id : key of the split into strata, and of cross-validation
    recruiter : None if unknown
    """

    prompt: tuple[Message, ...]
    reply: str
    good: bool
    stratum: Stratum
    conversation_id: str
    recruiter: str | None = None
    source: Source = "import"

    @classmethod
    def of_reply(cls, prompt: tuple[Message, ...], reply: str, good: bool, recruiter: str | None = None) -> "Rating":
        """From a record without a conversation; the prompt decides the stratum, as in :meth:`Preference.of_replies`."""
        conversation = conversation_of(prompt)
        return cls(prompt, reply, good, stratum_of(conversation), conversation, recruiter)
