"""The topic ``access``, on which who may call is changed: each change is numbered, and signed by the service's key.

One process writes at a time: the command line or the hub, each with the home's lock held.
"""

import base64
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from access.keys import AccessState, after
from access.memory import remember
from storage.attestation.keys import Keys, PublicKey, SigningKey
from storage.attestation.signatures import is_signed, signed
from storage.attestation.statement import canonical
from storage.errors import FeedbackLoopError
from storage.events import AccessChanged, Event
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


class Writing:
    """Changes that one command makes to ``state``, while it holds the lock."""

    def __init__(self, log: "ChangeLog", state: AccessState, key: SigningKey) -> None:
        self.state = state
        self._log, self._key = log, key
        self._serial = state.serial

    def made(self, kind: type[Change], **fields: Any) -> Change:
        """The next change, of this kind and with these fields: numbered and signed, not published yet."""
        self._serial += 1
        change = kind(source="product", serial=self._serial, signed_by=self._key.public.keyid, signature="", **fields)
        return change.model_copy(update={"signature": base64.b64encode(signed(self._key, PURPOSE, _message(change))).decode()})

    def publish(self, *changes: AccessChanged) -> None:
        """Publish the changes, and check on the log that they hold: an earlier attempt, thought failed, may have taken their numbers."""
        self._log.publish(changes)
        after_them = self._log.state()
        remember(self._log.keys.home, after_them)
        if after_them.serial != changes[-1].serial or after_them.problems != self.state.problems:
            raise FeedbackLoopError("the change did not take effect, because an earlier one reached the log late; do it again")


class ChangeLog:
    """Reads the changes on ``bus``, and writes them; ``keys`` are the places of the service's keys, which sign them."""

    def __init__(self, bus: Bus, keys: Keys) -> None:
        self.keys = keys
        self._bus = bus
        self._trusted = TrustedKeys(keys)

    def state(self) -> AccessState:
        """Who may call, as of the end of the log."""
        return folded(to_end(self._bus, [ACCESS], "access"), self._trusted.have_signed)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """Hold the home's lock; raises :class:`ConfigurationError` if another process does, or the service's key cannot be used."""
        self.keys.generate()
        with held(self.keys.home / "access.lock", BUSY):
            yield Writing(self, self.state(), self.keys.signing()[0])

    def publish(self, changes: Iterable[AccessChanged]) -> None:
        self._bus.publish(records_of(changes), timeout=TIMEOUT)


def folded(events: Iterable[Event], is_genuine: Callable[[AccessChanged], bool], state: AccessState = NOTHING) -> AccessState:
    """The state after these events of the topic."""
    for event in events:
        if isinstance(event, AccessChanged):
            state = after(state, event, is_genuine)
    return state


def _message(change: AccessChanged) -> bytes:
    return canonical(change.model_dump(mode="json", exclude={"signature"}))
