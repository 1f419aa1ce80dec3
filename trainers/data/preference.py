"""A recruiter's preference between two responses: the one type that every reader returns and every trainer takes."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import numpy as np
import orjson

from storage.events import Message, PreferenceJoined, PreferenceRemoved, Side, Source, Stratum, unpack
from storage.strata import conversation_of, stratum_of
from storage.texts.texts import PLAIN, Texts

DecisiveChoice = Literal["A", "B", "tie"]
DECISIVE: tuple[DecisiveChoice, ...] = ("A", "B", "tie")

_SWAPPED_CHOICE: dict[DecisiveChoice, DecisiveChoice] = {"A": "B", "B": "A", "tie": "tie"}
_SWAPPED_SIDE: dict[Side, Side] = {"A": "B", "B": "A"}


class Features(NamedTuple):
    """The feature vectors of A and B, float32 ``(d,)`` each, and the hash of the embedding that made them."""

    embedding_hash: str
    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True, slots=True)
class Preference:
    """A comparison of the responses A and B to ``prompt``.

    Attributes
    ----------
    prompt, a, b : the texts; empty for preferences from the stream, whose learner needs only ``features``
    choice : the overall answer; None where the judgment answers single objectives only
    objectives : answers to single objectives, such as ``{"safe": "A"}``
    strength : of the overall answer, 1 (negligible) to 4 (significant)
    conversation_id : key of the split into strata
    recruiter, shown_first, occurred_at : None if unknown
    features : None until computed
    counts : whether it counts towards the retraining threshold
    """

    prompt: tuple[Message, ...]
    a: str
    b: str
    choice: DecisiveChoice | None
    stratum: Stratum
    conversation_id: str
    strength: int | None = None
    recruiter: str | None = None
    shown_first: Side | None = None
    source: Source = "import"
    occurred_at: datetime | None = None
    pair_id: UUID | None = None
    counts: bool = False
    features: Features | None = field(default=None, compare=False)
    objectives: Mapping[str, DecisiveChoice] = field(default_factory=dict)

    @classmethod
    def of_replies(cls, prompt: tuple[Message, ...], chosen: str, rejected: str, strength: int | None = None) -> "Preference":
        """From a record that names the preferred reply. A hash of the texts decides which one is A, so neither side is favoured."""
        first = int(digest_of(prompt, chosen, rejected)[0], 16) % 2 == 0
        conversation = conversation_of(prompt)
        a, b = (chosen, rejected) if first else (rejected, chosen)
        return cls(prompt, a, b, "A" if first else "B", stratum_of(conversation), conversation, strength)

    @classmethod
    def of_tie(cls, prompt: tuple[Message, ...], one: str, other: str) -> "Preference":
        """From a record that calls two replies equally good."""
        first, second = sorted((one, other))
        return replace(cls.of_replies(prompt, first, second), choice="tie")

    @property
    def overall(self) -> DecisiveChoice:
        """The overall answer, which every preference of a file or a snapshot has."""
        if self.choice is None:
            raise ValueError("a preference without an overall answer: only the online head learns from it")
        return self.choice

    @property
    def chosen(self) -> str:
        """The preferred reply; A's for a tie."""
        return self.b if self.choice == "B" else self.a

    @property
    def rejected(self) -> str:
        """The other reply."""
        return self.a if self.choice == "B" else self.b

    @property
    def digest(self) -> str:
        """SHA-256 of the texts, the same for an equal record in another file."""
        first, second = sorted((self.a, self.b)) if self.choice == "tie" else (self.chosen, self.rejected)
        return digest_of(self.prompt, first, second)

    def swapped(self) -> "Preference":
        """The same answer with A and B exchanged."""
        return replace(
            self,
            a=self.b,
            b=self.a,
            choice=None if self.choice is None else _SWAPPED_CHOICE[self.choice],
            objectives={name: _SWAPPED_CHOICE[choice] for name, choice in self.objectives.items()},
            shown_first=None if self.shown_first is None else _SWAPPED_SIDE[self.shown_first],
            features=None if self.features is None else Features(self.features.embedding_hash, self.features.b, self.features.a),
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """Entry ``sequence`` of the online head's input: a preference to learn, or the sequence number of one to remove.

    If neither is set, the entry only advances the head's sequence number.
    """

    sequence: int
    preference: Preference | None = None
    removes: int | None = None

    @classmethod
    def of(cls, event: PreferenceJoined | PreferenceRemoved, texts: Texts = PLAIN) -> "Entry":
        """The entry for an event of ``feedback.preferences``, with its vectors opened by ``texts``, as arrays.

        Raises
        ------
        TextLost
            The vectors are sealed, and their key is gone.
        """
        if isinstance(event, PreferenceRemoved):
            return cls(event.sequence, removes=event.removes)
        judgment = event.judgment
        objectives = {name: each for name, given in judgment.objectives.items() for each in DECISIVE if each == given}
        preference = Preference(
            prompt=(),
            a="",
            b="",
            choice=next((each for each in DECISIVE if each == judgment.choice), None),
            stratum=event.stratum,
            conversation_id="",
            strength=judgment.strength,
            recruiter=judgment.recruiter,
            shown_first=judgment.shown_first,
            source=judgment.source,
            occurred_at=judgment.occurred_at,
            pair_id=judgment.pair_id,
            counts=judgment.counts,
            features=Features(event.embedding_hash, unpack(texts.opened(event.a)), unpack(texts.opened(event.b))),
            objectives=objectives,
        )
        return cls(event.sequence, preference)


def digest_of(prompt: Sequence[Message], chosen: str, rejected: str) -> str:
    """SHA-256 of a record's texts."""
    messages = [{"role": message.role, "content": message.content} for message in prompt]
    return hashlib.sha256(orjson.dumps([{"prompt": messages}, chosen, rejected])).hexdigest()


def decisive_training_rows(preferences: Iterable[Preference]) -> list[Preference]:
    """The preferences of the training stratum with a preferred reply."""
    return [each for each in preferences if each.stratum == "training" and each.choice in ("A", "B")]
