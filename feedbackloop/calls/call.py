"""A call: the request and how its answer is read. Both clients send the same calls.

The functions in this package make calls from the arguments of the clients' methods, without sending anything.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel

from feedbackloop.errors import APIError, ErrorBody

Message = Mapping[str, str]
Result = TypeVar("Result")
Receipts = TypeVar("Receipts", bound=BaseModel)


@dataclass(frozen=True)
class Call(Generic[Result]):
    """One request.

    Attributes
    ----------
    parse : makes the result from the JSON of the answer
    body : JSON
    key : idempotency key, with which the request can be sent again and is recorded once
    spooled : the receipt if the call goes into the spool; None for calls that are never spooled
    """

    method: str
    path: str
    parse: Callable[[Any], Result]
    body: bytes | None = None
    key: str | None = None
    spooled: Result | None = None
    server: Literal["serving", "hub"] = "serving"

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        return self.method == "GET" or self.key is not None

    @property
    def headers(self) -> dict[str, str]:
        kind = {} if self.body is None else {"Content-Type": "application/json"}
        return kind if self.key is None else kind | {"Idempotency-Key": self.key}

    def result(self, answer: httpx.Response) -> Result:
        """Read an answer; raises :class:`feedbackloop.APIError` unless it is a success in JSON."""
        if not answer.is_success:
            raise error_of(answer)
        try:
            return self.parse(answer.json())
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise APIError(f"{answer.url} did not return the expected JSON; check the address", status=answer.status_code) from error


def get(path: str, parse: Callable[[Any], Result], *, server: Literal["serving", "hub"]) -> Call[Result]:
    return Call("GET", path, parse, server=server)


def post(path: str, body: Mapping[str, Any], parse: Callable[[Any], Result]) -> Call[Result]:
    """A call that must not be repeated if its answer is lost."""
    return Call("POST", path, parse, encoded(body))


def recorded(path: str, body: Mapping[str, Any], key: UUID | str | None, spooled: Receipts) -> Call[Receipts]:
    """A call that records something: once, by its idempotency key, and in the spool if it cannot be delivered."""
    return Call("POST", path, type(spooled).model_validate, encoded(body), new_key(key), spooled)


def new_key(key: UUID | str | None) -> str:
    """The caller's idempotency key, or a new one."""
    return str(uuid4() if key is None else key)


def encoded(body: Mapping[str, Any]) -> bytes:
    """The body without fields that are None; raises ``ValueError`` for what JSON or UTF-8 cannot express."""
    given = {name: value for name, value in body.items() if value is not None}
    return json.dumps(given, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode()


def as_messages(prompt: str | Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(message) for message in prompt]


def error_of(answer: httpx.Response) -> APIError:
    try:
        body = ErrorBody.model_validate(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        body = ErrorBody(message=f"{answer.url} answered {answer.status_code}: {answer.text[:200]}")
    message = body.message + "".join(f"\n- {reason}" for reason in body.reasons)
    wait = _seconds(answer.headers.get("retry-after", ""))
    return APIError(message, status=answer.status_code, code=body.code, param=body.param, retry_after=wait)


def _seconds(retry_after: str) -> float | None:
    """Seconds to wait by a header that holds seconds or a date."""
    if retry_after.isdigit():
        return float(retry_after)
    try:
        when = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be sent as JSON")
