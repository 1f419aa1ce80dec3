"""Changes of who may call: signed by the service's key, numbered, and published on the topic ``access``.

One process writes at a time: the command line or the hub, each with the home's lock held.
"""

import base64
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from access.keys import SCOPES, AccessState, ApiKey, KeyText, after
from access.memory import remember
from storage.attestation.keys import Keys, PublicKey, SigningKey
from storage.attestation.signatures import is_signed, signed
from storage.attestation.statement import canonical
from storage.errors import FeedbackLoopError, InputRefused
from storage.events import AccessChanged, Event, KeyIssued, KeyRevoked, now
from storage.home import held
from streams.bus.protocol import Bus, records_of
from streams.bus.scan import to_end
from streams.bus.topics import ACCESS

PURPOSE = "access"
TIMEOUT = 10.0  # seconds to wait for the log
REREAD_INTERVAL = 1.0  # seconds: whoever invents ids of keys must not have files read all the time
NOTHING = AccessState()
BUSY = "another command is changing access in this home; try again when it is done"

Change = TypeVar("Change", bound=AccessChanged)


class TrustedKeys:
    """The public keys that may have signed for the service; read again when an unknown one is named, at most once a second."""

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._clock = keys, clock
        self._known: dict[str, PublicKey] = {}
        self._read_at = -math.inf

    def find(self, keyid: str) -> PublicKey | None:
        """The service's public key with this id; None if none is trusted. A reviewer's key may sign nothing here."""
        if keyid not in self._known and self._clock() >= self._read_at + REREAD_INTERVAL:
            self._read_at = self._clock()
            self._known = {each: key for each, key in self._keys.trusted().items() if key.role == "service"}
        return self._known.get(keyid)

    def have_signed(self, change: AccessChanged) -> bool:
        """Whether a trusted key has signed the change."""
        key = self.find(change.signed_by)
        try:
            signature = base64.b64decode(change.signature, validate=True)
        except ValueError:
            return False
        return key is not None and is_signed(key, PURPOSE, _message(change), signature)


class AccessChanges:
    """Makes the changes, on ``bus``; ``keys`` are the places of the service's keys, which sign them."""

    def __init__(self, bus: Bus, keys: Keys) -> None:
        self._bus, self._keys = bus, keys
        self._trusted = TrustedKeys(keys)

    def state(self) -> AccessState:
        """Who may call, as of the end of the log."""
        return folded(to_end(self._bus, [ACCESS], "access"), self._trusted.have_signed)

    def issue(
        self, name: str, scopes: Collection[str], *, recruiters: Collection[str] = (), expires_at: datetime | None = None
    ) -> tuple[KeyIssued, str]:
        """A new key, and its text, which is kept nowhere.

        Parameters
        ----------
        recruiters : pseudonyms of the recruiters that it may speak for; without any, it may speak for all

        Raises
        ------
        InputRefused
            There is no such scope, no scope at all, or a valid key has this name.
        ConfigurationError, AttestationError, Overloaded
            Another process is changing access; the service's key cannot be used; the log cannot be written.
        """
        if not scopes or (unknown := sorted(set(scopes) - SCOPES.keys())):
            raise InputRefused(f"scope: {', '.join(unknown) if scopes else 'missing'}; choose from {', '.join(SCOPES)}", "scope")
        with self._writing() as (state, key):
            if state.named(name, now()):
                raise InputRefused(f"name: a key is named {name!r} already; rotate it, or choose another name", "name")
            text = KeyText.new()
            issued = _issued(state.serial + 1, key, text, name, scopes, recruiters, expires_at)
            self._publish(state, [issued])
        return issued, text.text

    def rotate(self, name: str, overlap: timedelta) -> tuple[KeyIssued, str]:
        """A new key in place of the newest valid one with this name or id, which ends after ``overlap``; raises as :meth:`issue`.

        A key that expires gets as long a life again.
        """
        with self._writing() as (state, key):
            old = _only(state, name)
            text = KeyText.new()
            expires_at = None if old.expires_at is None else now() + (old.expires_at - old.issued_at)
            issued = _issued(state.serial + 1, key, text, old.name, old.scopes, old.recruiters, expires_at)
            self._publish(state, [issued, _revoked(state.serial + 2, key, old, now() + overlap)])
        return issued, text.text

    def revoke(self, name: str) -> list[ApiKey]:
        """End every valid key with this name or id at once; raises as :meth:`issue`."""
        with self._writing() as (state, key):
            moment = now()
            ended = _some(state, name)
            self._publish(state, [_revoked(state.serial + 1 + n, key, each, moment) for n, each in enumerate(ended)])
        return ended

    @contextmanager
    def _writing(self) -> Iterator[tuple[AccessState, SigningKey]]:
        self._keys.generate()
        with held(self._keys.home / "access.lock", BUSY):
            yield self.state(), self._keys.signing()[0]

    def _publish(self, before: AccessState, changes: list[AccessChanged]) -> None:
        """Publish the changes, and check on the log that they hold: an earlier attempt, thought failed, may have taken their numbers."""
        self._bus.publish(records_of(changes), timeout=TIMEOUT)
        state = self.state()
        remember(self._keys.home, state)
        if state.serial != changes[-1].serial or state.problems != before.problems:
            raise FeedbackLoopError("the change did not take effect, because an earlier one reached the log late; do it again")


def folded(events: Iterable[Event], is_genuine: Callable[[AccessChanged], bool], state: AccessState = NOTHING) -> AccessState:
    """The state after these events of the topic."""
    for event in events:
        if isinstance(event, AccessChanged):
            state = after(state, event, is_genuine)
    return state


def _issued(
    serial: int,
    key: SigningKey,
    text: KeyText,
    name: str,
    scopes: Collection[str],
    recruiters: Collection[str],
    expires_at: datetime | None,
) -> KeyIssued:
    return _signed(
        KeyIssued(
            source="product",
            serial=serial,
            signed_by=key.public.keyid,
            signature="",
            key_id=text.key_id,
            name=name,
            secret_hash=text.hash,
            scopes=tuple(sorted(set(scopes), key=list(SCOPES).index)),
            recruiters=tuple(sorted(set(recruiters))),
            expires_at=expires_at,
        ),
        key,
    )


def _revoked(serial: int, key: SigningKey, old: ApiKey, ends_at: datetime) -> KeyRevoked:
    return _signed(
        KeyRevoked(source="product", serial=serial, signed_by=key.public.keyid, signature="", key_id=old.key_id, ends_at=ends_at),
        key,
    )


def _signed(change: Change, key: SigningKey) -> Change:
    return change.model_copy(update={"signature": base64.b64encode(signed(key, PURPOSE, _message(change))).decode()})


def _message(change: AccessChanged) -> bytes:
    return canonical(change.model_dump(mode="json", exclude={"signature"}))


def _some(state: AccessState, name: str) -> list[ApiKey]:
    found = state.named(name, now())
    if not found:
        raise InputRefused(f"there is no valid key {name!r}; 'feedbackloop keys list' shows them", "name")
    return found


def _only(state: AccessState, name: str) -> ApiKey:
    """The newest of the valid keys with this name: an older one is about to end."""
    return max(_some(state, name), key=lambda key: key.issued_at)
