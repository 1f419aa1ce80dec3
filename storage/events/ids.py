"""Event ids and the clock: version 7 for what is new, version 5 for what is derived from something else."""

from datetime import UTC, datetime
from uuid import NAMESPACE_URL, UUID, uuid5

import uuid_utils
import uuid_utils.compat


def new_id() -> UUID:
    """A fresh UUIDv7: ids sort by the time they were made."""
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    return datetime.now(UTC)


_NAMESPACE = uuid_utils.UUID(uuid5(NAMESPACE_URL, "feedbackloop").hex)


def derived_id(*parts: object) -> UUID:
    """The UUIDv5 of what an event is derived from, so that deriving it again gives the same event."""
    texts = [str(uuid_utils.UUID(int=part.int) if isinstance(part, UUID) else part) for part in parts]  # twice as quick as a UUID's own
    return UUID(int=uuid_utils.uuid5(_NAMESPACE, "\x1f".join(texts)).int)
