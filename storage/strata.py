"""The split into training and evaluation strata, shared by every phase and every source of data.

A quarter of all conversations is held out from the start; their pairs are sampled uniformly and never trained on. For imported records,
which have no conversation id, the first user message takes its place, so that turns of one dialogue never end up in both strata. The hash
is keyed because callers choose conversation ids: without the key they cannot steer a conversation into a stratum. Events record the
stratum.
"""

import hashlib
import hmac
from collections.abc import Sequence

from storage.events import Message, Stratum


def stratum_of(conversation_id: str, key: bytes = b"") -> Stratum:
    """``evaluation`` for one conversation in four, by HMAC-SHA-256 of its id under the installation's ``key``.

    Without a key (training from a file, where ids are not adversarial), SHA-256 of the id.
    """
    if key:
        digest = hmac.digest(key, f"stratum\x1f{conversation_id}".encode(), "sha256")
    else:
        digest = hashlib.sha256(conversation_id.encode()).digest()
    return "evaluation" if digest[0] % 4 == 0 else "training"


def fold_of(conversation_id: str, folds: int) -> int:
    """The fold of a conversation in cross-validation, 0 to ``folds`` - 1; all that was said of a conversation is in one fold."""
    return hashlib.sha256(f"fold {conversation_id}".encode()).digest()[0] % folds


def conversation_of(prompt: Sequence[Message], key: bytes = b"") -> str:
    """Derive a conversation id from the prompt's first user message, or from its first message if there is no user message.

    An id outlives the text. Under the installation's ``key`` nobody can find out by guessing what the candidate wrote; without a key
    (training from a file, where ids are not stored) it is a plain hash.
    """
    first = next((message for message in prompt if message.role == "user"), prompt[0])
    return f"prompt-{digest_of(first.content, key)}"


def digest_of(opening: str, key: bytes) -> str:
    """32 hex digits of the HMAC-SHA-256 of a conversation's first words under ``key``, of their SHA-256 if it is empty."""
    digest = hmac.digest(key, f"conversation\x1f{opening}".encode(), "sha256") if key else hashlib.sha256(opening.encode()).digest()
    return digest.hex()[:32]
