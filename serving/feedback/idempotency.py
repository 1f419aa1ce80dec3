"""Idempotency keys: a request that is repeated with its key gets the first answer again, and is one event.

As in the draft ``draft-ietf-httpapi-idempotency-key-header``. The ids of the request's events derive from caller, path and key, so a repeat
is the same event in the warehouse, also after a restart or on another replica. This process remembers its latest answers; only there is it
known that a key comes with another body. Elsewhere the first event holds.
"""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import orjson
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from access.caller import caller_of, intake_of
from serving import responses
from serving.intake_calls import source_of
from storage.errors import InputRefused, NotAllowed
from storage.events import derived_id
from streams.intake import Intake

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
MAX_KEY = 255  # characters
MAX_BYTES = 16 * 2**20  # of remembered answers
ENTRY_BYTES = 500  # of a remembered key without its answer, about
QUOTED = rf'"[ !#-~]{{1,{MAX_KEY}}}"'  # the draft's syntax; many clients send the bare value
BARE = rf"[!#-~](?:[ -~]{{0,{MAX_KEY - 2}}}[!#-~])?"
KEY = re.compile(f"{QUOTED}|{BARE}")
PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A unique value such as a UUID; a repeated request with the same key and body is recorded once.",
    "schema": {"type": "string", "pattern": f"^(?:{BARE}|{QUOTED})$"},
}

Done = TypeVar("Done")


class KeyReused(InputRefused):
    """The key has come with another body before."""

    status = 422
    code = "idempotency_key_reused"


@dataclass(frozen=True)
class Remembered:
    """A request by its key: the hash of its body, and the answer once there is one."""

    fingerprint: bytes
    status: int = 0
    body: bytes = b""

    @property
    def size(self) -> int:
        return ENTRY_BYTES + len(self.body)


class IdempotencyKeys:
    """The latest keys of this process, up to ``most`` bytes. Thread-safe."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._known: OrderedDict[UUID, Remembered] = OrderedDict()
        self._bytes = 0

    def begin(self, key: UUID, fingerprint: bytes) -> Remembered | None:
        """The answer given before, or None if the request is to be recorded; raises :class:`KeyReused` for another body."""
        with self._guard:
            known = self._known.get(key)
            if known is None:
                self._put(key, Remembered(fingerprint))
                return None
            if known.fingerprint != fingerprint:
                raise KeyReused(f"{HEADER}: this key came with another body before; use a new key for another request", HEADER)
            self._known.move_to_end(key)
            return known if known.status else None

    def answered(self, key: UUID, answer: Remembered) -> None:
        with self._guard:
            self._put(key, answer)

    def refused(self, key: UUID) -> None:
        """Nothing was recorded: the key may be used with a corrected body."""
        with self._guard:
            if (known := self._known.get(key)) is not None and not known.status:
                self._remove(key)

    def _put(self, key: UUID, entry: Remembered) -> None:
        if key in self._known:
            self._remove(key)
        self._known[key] = entry
        self._bytes += entry.size
        while self._bytes > self._most:
            self._remove(next(iter(self._known)))

    def _remove(self, key: UUID) -> None:
        self._bytes -= self._known.pop(key).size


class Recorder:
    """Passes requests to the intake, each once for its key."""

    def __init__(self, intake: Intake, keys: IdempotencyKeys | None = None) -> None:
        self._intake = intake
        self._keys = keys or IdempotencyKeys()

    async def answer(
        self, request: Request, raw: bytes, record: Callable[[Intake, UUID | None], Done], receipt: Callable[[Done], tuple[int, Any]]
    ) -> Response:
        """Record a request and answer with its receipt, or with the one given before.

        Parameters
        ----------
        raw : the body
        record : makes the request's events durable; called in a thread with its caller's intake and the UUID of its key, if it has one
        receipt : status and body of the answer
        """
        key, intake = request_key(request), intake_of(self._intake, request)
        if key is None:
            status, body = receipt(await run_in_threadpool(record, intake, None))
            return responses.json(body, status)
        fingerprint = _fingerprint(raw)
        known = self._keys.begin(key, fingerprint)
        if known is not None:
            return responses.json(known.body, known.status, REPLAYED)
        try:
            done = await run_in_threadpool(record, intake.within(key), key)
        except (InputRefused, NotAllowed):
            self._keys.refused(key)
            raise
        status, body = receipt(done)
        answer = Remembered(fingerprint, status, orjson.dumps(body))
        self._keys.answered(key, answer)
        return responses.json(answer.body, status)


def request_key(request: Request) -> UUID | None:
    """The UUID that the ids of the request's events derive from; None without the header.

    Without names all callers are one, told apart from simulations.
    """
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    key = given[0].strip()
    if len(given) > 1 or not KEY.fullmatch(key):
        raise InputRefused(f"{HEADER}: send one value of 1 to {MAX_KEY} printable ASCII characters, such as a UUID", HEADER)
    name = caller_of(request).name
    return derived_id("idempotency key", *([name] if name else []), source_of(request), request.url.path, key.strip('"'))


def _fingerprint(raw: bytes) -> bytes:
    """Hash of the body as JSON, whatever its spaces and the order of its fields."""
    with suppress(orjson.JSONDecodeError, TypeError):  # NaN or an integer above 64 bits
        raw = orjson.dumps(orjson.loads(raw), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(raw).digest()
