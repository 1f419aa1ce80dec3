"""Redaction: personal data in texts is replaced by placeholders before they are logged.

``Intake`` and the import pass every event through :meth:`Redactor.logged` before it is published. What the model reads and what the client
gets is not changed. Names are not redacted: the facts that replies have to state consist of them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from storage.errors import InputRefused
from storage.events import MAX_TEXT, Event, Intervention, PairDrawn
from storage.events.texts import with_texts
from streams.privacy.addresses import find_addresses
from streams.privacy.birth_dates import find_birth_dates
from streams.privacy.contacts import find_contacts
from streams.privacy.found import Detector, Found
from streams.privacy.identifiers import find_identifiers
from streams.privacy.phones import find_phones
from streams.privacy.presidio import presidio_detector
from streams.privacy.settings import PrivacySettings

FILTER = "personal_data"
MAX_CLEAN = 20_000
_MASK = "\x1f"  # in place of what was found, so that no later detector reads it again


class Redacted(NamedTuple):
    """The text with placeholders, and how many there are of each kind."""

    text: str
    kinds: Mapping[str, int]


class Redactor:
    """Redacts texts and events as the section ``[privacy]`` says."""

    def __init__(self, settings: PrivacySettings | None = None) -> None:
        """Raises ``ConfigurationError`` if Presidio is set and not installed."""
        self._settings = settings or PrivacySettings()
        # The order decides where findings overlap: what has check digits goes before what has only a format.
        self._detectors: tuple[Detector, ...] = (
            find_contacts,
            find_identifiers,
            find_birth_dates,
            partial(find_phones, regions=self._settings.regions),
            find_addresses,
        )
        if self._settings.redact and self._settings.presidio_model:
            self._detectors += (presidio_detector(self._settings.presidio_model, self._settings.presidio_entities),)
        self._kept = frozenset(map(_bare, self._settings.keep))
        self._clean: set[bytes] = set()  # hashes of texts without personal data: a conversation's turns come again with each reply and pair

    def redact(self, text: str) -> Redacted:
        """Replace personal data in ``text``."""
        if not self._settings.redact:
            return Redacted(text, {})
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        found = [] if digest in self._clean else self._find(text)
        if not found:
            if len(self._clean) >= MAX_CLEAN:
                self._clean.clear()
            self._clean.add(digest)
            return Redacted(text, {})
        pieces, last = [], 0
        for start, end, kind in found:
            pieces += [text[last:start], f"[{kind.upper()}]"]
            last = end
        return Redacted("".join([*pieces, text[last:]]), Counter(each.kind for each in found))

    def logged(self, events: Sequence[Event]) -> list[Event]:
        """The events as they are logged, and an intervention for each kind of personal data redacted from one.

        Raises
        ------
        InputRefused
            The responses of a pair differ in nothing but personal data.
        """
        if not self._settings.redact:
            return list(events)
        result: list[Event] = []
        interventions: list[Event] = []
        for event in events:
            kinds: Counter[str] = Counter()

            def changed(text: str, kinds: Counter[str] = kinds) -> str:
                redacted = self.redact(text)
                kinds.update(redacted.kinds)
                return redacted.text[:MAX_TEXT]

            redacted = with_texts(event, changed)
            if isinstance(redacted, PairDrawn) and redacted.a.text == redacted.b.text:
                raise InputRefused("b: differs from a in nothing but personal data, which is not logged; there is nothing to prefer", "b")
            result.append(redacted)
            interventions += [Intervention("log", FILTER, "redact", kind, times).about(event) for kind, times in sorted(kinds.items())]
        return result + interventions

    def _find(self, text: str) -> list[Found]:
        if "@" not in text and "(at)" not in text and len(re.findall(r"\d", text[:MAX_TEXT])) < 2:
            return []
        found: list[Found] = []
        rest = text
        for detector in self._detectors:
            for each in sorted(detector(rest), key=lambda each: (each.start, -each.end)):
                if _MASK in rest[each.start : each.end] or self._is_kept(text[each.start : each.end], each.kind):
                    continue
                found.append(each)
                rest = rest[: each.start] + _MASK * (each.end - each.start) + rest[each.end :]
        return sorted(found)

    def _is_kept(self, written: str, kind: str) -> bool:
        """Whether it is one of the company's own contact details, or an e-mail address in one of its domains."""
        if not self._kept:
            return False
        bare = _bare(written)
        domain = written.rpartition("@")[2].casefold()
        return bare in self._kept or (kind == "email" and any(domain == own or domain.endswith(f".{own}") for own in self._settings.keep))


def _bare(text: str) -> str:
    return re.sub(r"[\s().,\-/]", "", text).casefold()
