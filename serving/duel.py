"""Which replies and second responses the challenger of a duel writes.

``promotion`` sets the duel from the log. During the duel proper the challenger writes second responses only; in a canary it also answers a
share of the conversations, and then the champion writes the second response.
"""

import hashlib
from dataclasses import dataclass

from serving.models.backend import Answering
from storage.events import ReplySent


@dataclass(frozen=True)
class Duel:
    """The duel that is going on.

    Attributes
    ----------
    version, champion : the challenger and its opponent, by name
    challenger : replies as the challenger
    share : of conversations that the challenger answers; 0 before a canary
    """

    version: str
    champion: str
    challenger: Answering
    share: float

    def answers(self, conversation_id: str) -> bool:
        """Whether the challenger answers this conversation: by a hash, so that it answers all turns, and goes on as the share grows."""
        digest = hashlib.sha256(f"{self.version}\x1f{conversation_id}".encode()).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64

    def second_of(self, reply: ReplySent) -> bool:
        """Whether the second response to ``reply`` belongs to the duel. The evaluation stratum keeps its pairs of one policy."""
        if reply.version == self.version:
            return True
        return reply.version == self.champion and reply.stratum == "training"


class CurrentDuel:
    """The duel of a serving process; None when there is none. Set by another thread."""

    def __init__(self) -> None:
        self.now: Duel | None = None

    def named(self, version: str) -> Answering | None:
        """The challenger, if it has this name: people may talk to it before it answers candidates."""
        duel = self.now
        return duel.challenger if duel is not None and duel.version == version else None

    def answering(self, conversation_id: str) -> Answering | None:
        """The challenger, if it answers this conversation."""
        duel = self.now
        return duel.challenger if duel is not None and duel.answers(conversation_id) else None
