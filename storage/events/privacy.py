"""Privacy events: whom the log has forgotten."""

from typing import Literal

from storage.events.event import Event
from storage.events.fields import Identifier

Erasable = Literal["candidate", "recruiter", "conversation"]


class PersonErased(Event):
    """What the log holds of a candidate, a recruiter or a conversation is erased, and nothing of it is stored any more.

    ``name`` is the pseudonym, or the conversation's id. The log keeps its entries; ``storage.warehouse.erasure`` says which of them no
    longer count, and the keys of their texts are destroyed.
    """

    kind: Literal["PersonErased"] = "PersonErased"
    what: Erasable
    name: Identifier
