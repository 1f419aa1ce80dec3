"""Access to the service: which API keys and people there are, who signed in, who was refused, and who decided."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from storage.events.event import Event
from storage.events.fields import Identifier, Moment, Name, Sha256

Roles = Annotated[tuple[Identifier, ...], Field(min_length=1)]


class AccessChanged(Event):
    """A change of who may call. The service's key signs it, so that who can write to the log cannot let themselves in.

    ``serial`` counts all changes from 1, so that a repeated or removed one shows. ``signature`` is base64 of an Ed25519 signature by the
    key ``signed_by`` over all other fields (``access.changes``).
    """

    serial: Annotated[int, Field(ge=1, lt=2**53)]  # canonical JSON has no larger ones
    signed_by: Sha256
    signature: str


class KeyIssued(AccessChanged):
    """An API key that callers may use from here on; only the hash of its secret is known.

    ``name`` stays the same when the key is rotated. ``recruiters`` are the pseudonyms of those for whom it may speak; without any, for all.
    """

    kind: Literal["KeyIssued"] = "KeyIssued"
    key_id: Identifier
    name: Identifier
    secret_hash: Sha256
    scopes: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    recruiters: tuple[Identifier, ...] = ()
    expires_at: Moment | None = None


class KeyRevoked(AccessChanged):
    """The key ends at ``ends_at``: at once, or when the key that replaces it is in use everywhere."""

    kind: Literal["KeyRevoked"] = "KeyRevoked"
    key_id: Identifier
    ends_at: Moment


class PersonAdded(AccessChanged):
    """A person who may sign in from here on. Name, login and password are not on the log (``access.people.store``).

    ``recruiter`` is the pseudonym under which the person judges; ``identity`` who they are for the identity provider, as a keyed hash.
    """

    kind: Literal["PersonAdded"] = "PersonAdded"
    person: Identifier
    recruiter: Identifier
    roles: Roles
    identity: Identifier | None = None


class RolesChanged(AccessChanged):
    """The person has these roles, instead of those before."""

    kind: Literal["RolesChanged"] = "RolesChanged"
    person: Identifier
    roles: Roles


class PersonRemoved(AccessChanged):
    """The person may not sign in any more, and nobody may judge as them; for good: who comes back gets another id."""

    kind: Literal["PersonRemoved"] = "PersonRemoved"
    person: Identifier


class SignedIn(Event):
    """The person has shown who they are, by a password of this installation (``local``) or by the identity provider (``oidc``), and has a
    session.
    """

    kind: Literal["SignedIn"] = "SignedIn"
    person: Identifier
    how: Literal["local", "oidc"]


class SignedOut(Event):
    """The person has ended a session."""

    kind: Literal["SignedOut"] = "SignedOut"
    person: Identifier


class RequestsRefused(Event):
    """``caller``, who is known, asked ``times`` for what they may not have; at most one event a minute for the same thing."""

    kind: Literal["RequestsRefused"] = "RequestsRefused"
    caller: Name
    request: str
    status: Annotated[int, Field(ge=400, lt=600)]
    times: Annotated[int, Field(ge=1, lt=2**63)]


class DecisionMade(Event):
    """``caller`` made the decision that the event ``decision`` records; the name inside that event is the one that they typed."""

    kind: Literal["DecisionMade"] = "DecisionMade"
    caller: Name
    decision: UUID
