"""``POST /v1/feedback/bulk``: up to a thousand items of feedback in one durable commit, each accepted or refused by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, TypeAdapter
from pydantic_core import to_json

from serving.feedback.kind import Published, Shape
from serving.feedback.table import adapter, kind_of
from serving.requests import documented, read
from serving.responses import REFUSALS
from storage.errors import InputRefused, NotAllowed, Overloaded
from storage.events import Source, derived_id
from streams.bus.protocol import Position, Record
from streams.http.errors import refusal
from streams.intake import Intake

MAX_ITEMS = 1_000
Refused = dict[str, Any]  # an error body


class BulkRequest(Shape):
    """The body: each item is a body of ``POST /v1/feedback``, read when its turn comes."""

    items: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=MAX_ITEMS)]


BULK = TypeAdapter(BulkRequest)


@dataclass
class Collected:
    """An outlet that keeps the records, to publish those of all items at once."""

    records: list[Record] = field(default_factory=list)

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        self.records += records
        return []

    def close(self) -> None: ...


def record_all(intake: Intake, items: Sequence[dict[str, Any]], source: Source, key: UUID | None) -> list[Published | Refused]:
    """Publish the items that are valid, in order and in one commit; return what was published, or the error, of each.

    Raises
    ------
    Overloaded
        The log cannot be written. Nothing was recorded.
    """
    accepted: list[Record] = []
    results: list[Published | Refused] = []
    for place, item in enumerate(items):
        collected = Collected()
        view = intake.within(None if key is None else derived_id("item", key, place), collected)
        try:
            body = read(adapter(), to_json(item, inf_nan_mode="constants"), discriminated=True)
            results.append(kind_of(body).publish(view, body, source))
        except (InputRefused, NotAllowed, Overloaded) as error:
            results.append(refusal(error, REFUSALS)[1])
        else:
            accepted += collected.records
    intake.send(accepted)
    return results


def documented_bulk(*parameters: dict[str, Any]) -> dict[str, Any]:
    """As :func:`serving.requests.documented`. Any object is an item: one that is no feedback is refused by itself."""
    body = documented(adapter(), *parameters)
    media = body["requestBody"]["content"]["application/json"]
    items = {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": {"anyOf": [media["schema"], {"type": "object"}]}}
    media["schema"] = {"type": "object", "properties": {"items": items}, "required": ["items"], "additionalProperties": False}
    return body
