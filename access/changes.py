"""Makes, rotates and revokes API keys."""

from collections.abc import Collection
from datetime import datetime, timedelta

from access.change_log import ChangeLog, Writing
from access.keys import SCOPES, AccessState, ApiKey, KeyText
from storage.errors import InputRefused
from storage.events import KeyIssued, KeyRevoked, now


class AccessChanges(ChangeLog):
    """Makes the changes of API keys on ``bus``; ``keys`` are the places of the service's keys, which sign them."""

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
        with self.writing() as writing:
            if writing.state.named(name, now()):
                raise InputRefused(f"name: a key is named {name!r} already; rotate it, or choose another name", "name")
            text = KeyText.new()
            issued = _issued(writing, text, name, scopes, recruiters, expires_at)
            writing.publish(issued)
        return issued, text.text

    def rotate(self, name: str, overlap: timedelta) -> tuple[KeyIssued, str]:
        """A new key in place of the newest valid one with this name or id, which ends after ``overlap``; raises as :meth:`issue`.

        A key that expires gets as long a life again.
        """
        with self.writing() as writing:
            old = _only(writing.state, name)
            text = KeyText.new()
            expires_at = None if old.expires_at is None else now() + (old.expires_at - old.issued_at)
            issued = _issued(writing, text, old.name, old.scopes, old.recruiters, expires_at)
            writing.publish(issued, writing.made(KeyRevoked, key_id=old.key_id, ends_at=now() + overlap))
        return issued, text.text

    def revoke(self, name: str) -> list[ApiKey]:
        """End every valid key with this name or id at once; raises as :meth:`issue`."""
        with self.writing() as writing:
            moment = now()
            ended = _some(writing.state, name)
            writing.publish(*(writing.made(KeyRevoked, key_id=each.key_id, ends_at=moment) for each in ended))
        return ended


def _issued(
    writing: Writing, text: KeyText, name: str, scopes: Collection[str], recruiters: Collection[str], expires_at: datetime | None
) -> KeyIssued:
    return writing.made(
        KeyIssued,
        key_id=text.key_id,
        name=name,
        secret_hash=text.hash,
        scopes=tuple(sorted(set(scopes), key=list(SCOPES).index)),
        recruiters=tuple(sorted(set(recruiters))),
        expires_at=expires_at,
    )


def _some(state: AccessState, name: str) -> list[ApiKey]:
    found = state.named(name, now())
    if not found:
        raise InputRefused(f"there is no valid key {name!r}; 'feedbackloop keys list' shows them", "name")
    return found


def _only(state: AccessState, name: str) -> ApiKey:
    """The newest of the valid keys with this name: an older one is about to end."""
    return max(_some(state, name), key=lambda key: key.issued_at)
