"""Sealing: texts get keys of their own before they are logged, after redaction.

A conversation has one key in each process that publishes of it, and a reason, comment, rewrite or record of groups one of its own: the
intake knows only the pair or the reply that a remark is about. Keys are durable before anything is sealed under them.
"""

import hmac
import threading
from collections import OrderedDict
from collections.abc import Sequence

import orjson

from storage.events import MAX_TEXT, Event, GroupsRecorded, JudgmentGiven, Message, PairDrawn, ReplySent, ResponseEdited, ResponseRated
from storage.events.texts import with_texts
from storage.events.tokens import MARK
from storage.settings import Settings
from storage.texts.keys import TextKeys
from storage.texts.sealed import Cipher, TextKey, group_bytes
from streams.privacy.settings import PrivacySettings
from streams.pseudonyms import pseudonym_key

CONVERSATIONS = 10_000  # whose keys are remembered; an older conversation that goes on gets another key
POOL = 100  # keys made at a time: making one durable takes milliseconds
OWN_KEY = (JudgmentGiven, ResponseRated, ResponseEdited)


class Sealer:
    """Seals the texts of events under ``keys``; without, they stay as they are. Safe to use from several threads.

    ``secret`` is the installation's, for the keys of prompts.
    """

    def __init__(self, keys: TextKeys | None = None, secret: bytes = b"") -> None:
        self._keys = keys
        self._prompt_secret = hmac.digest(secret, b"prompt keys", "sha256")
        self._lock = threading.Lock()
        self._pool: list[TextKey] = []
        self._conversations: OrderedDict[str, TextKey] = OrderedDict()

    def logged(self, events: Sequence[Event]) -> list[Event]:
        """The events as they are logged."""
        return [self._sealed(with_texts(event, _unmarked)) for event in events]

    def _sealed(self, event: Event) -> Event:
        if self._keys is None:
            return event
        if isinstance(event, ReplySent):
            event = event.model_copy(update={"prompt_key": self._prompt_key(event.prompt)})
        if isinstance(event, GroupsRecorded) and event.groups:
            of_groups = Cipher(self._fresh(self._keys))
            sealed = {attribute: of_groups.seal(group_bytes(attribute, group), "g") for attribute, group in event.groups.items()}
            return event.model_copy(update={"groups": sealed})
        if isinstance(event, ReplySent | PairDrawn):
            cipher = Cipher(self._of_conversation(event.conversation_id, self._keys))
        elif isinstance(event, OWN_KEY) and with_texts(event, lambda text: "") is not event:
            cipher = Cipher(self._fresh(self._keys))
        else:
            return event
        return with_texts(event, lambda text: cipher.seal(text.encode(), "t"))

    def _of_conversation(self, conversation_id: str, keys: TextKeys) -> TextKey:
        with self._lock:
            key = self._conversations.get(conversation_id)
        if key is None or keys.get(key.kid) is None:  # destroyed meanwhile
            key = self._fresh(keys)
        with self._lock:
            self._conversations[conversation_id] = key
            self._conversations.move_to_end(conversation_id)
            if len(self._conversations) > CONVERSATIONS:
                self._conversations.popitem(last=False)
        return key

    def _fresh(self, keys: TextKeys) -> TextKey:
        with self._lock:
            if not self._pool:
                made = [TextKey.new() for _ in range(POOL)]
                keys.add(made)
                self._pool = made
            return self._pool.pop()

    def _prompt_key(self, prompt: Sequence[Message]) -> str:
        said = orjson.dumps([(message.role, message.content) for message in prompt])
        return hmac.digest(self._prompt_secret, said, "sha256").hex()[:32]


def sealer_of(settings: Settings, keys: TextKeys) -> Sealer:
    """The sealer of this installation; it seals nothing where the section ``[privacy]`` says so."""
    return Sealer(keys if settings.section("privacy", PrivacySettings).seal else None, pseudonym_key(settings.common))


def _unmarked(text: str) -> str:
    """The text without the mark of sealed ones, which nobody else may write; only with it can a text be longer than others."""
    return text.replace(MARK, "\ufffd")[:MAX_TEXT] if MARK in text else text
