"""Invalid events are reported as unreadable and never crash the reader."""

import json
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from storage.errors import EventUnreadable
from storage.events import Event, PreferenceJoined, assembled
from storage.events.wire import WRITTEN, decode, encode
from tests.storage.facts import judgment, one_of_each, reply


def changed(event: Any, change: Callable[[dict[str, Any]], object]) -> bytes:
    fields = json.loads(encode(event))
    change(fields)
    return json.dumps(fields).encode()


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-31T12:00:00", "noon"])
def test_an_invalid_time_or_one_outside_the_calendar_in_utc_is_unreadable(moment: str) -> None:
    with pytest.raises(EventUnreadable, match=r"occurred_at: not a time with its offset .* within the years 1 to 9999$"):
        decode(changed(reply(1), lambda fields: fields.update(occurred_at=moment)))


@pytest.mark.parametrize("moment", ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00", "2026-01-31T13:30:00+01:30"])
def test_a_time_is_converted_to_utc(moment: str) -> None:
    event = decode(changed(reply(1), lambda fields: fields.update(occurred_at=moment)))
    assert (event.occurred_at, event.occurred_at.utcoffset()) == (datetime(2026, 1, 31, 12, tzinfo=UTC), timedelta(0))


@pytest.mark.parametrize("field", sorted(WRITTEN))
def test_a_stored_event_without_id_time_or_version_is_unreadable(field: str) -> None:
    with pytest.raises(EventUnreadable, match=f"JudgmentGiven: {field}: missing"):
        decode(changed(judgment(1), lambda fields: fields.pop(field)))
    joined = next(event for event in one_of_each() if isinstance(event, PreferenceJoined))
    with pytest.raises(EventUnreadable, match=f"JudgmentGiven: {field}: missing"):
        decode(changed(joined, lambda fields: fields["judgment"].pop(field)))


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(reply="Dear Rosa Marchetti\0"),
        lambda fields: fields.update(reply=["Dear Rosa Marchetti"]),
        lambda fields: fields["prompt"][0].update(content="Rosa Marchetti\0"),
        lambda fields: fields.update(schema_version="Rosa Marchetti"),
        lambda fields: fields.update(schema_version=1, sampling="Rosa Marchetti"),
    ],
)
def test_the_traceback_of_an_unreadable_event_does_not_show_what_was_written(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(EventUnreadable) as unreadable:
        decode(changed(reply(1), change))
    assert "Marchetti" not in "".join(traceback.format_exception(unreadable.value))


@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: event.kind)
def test_an_assembled_event_is_the_one_that_pydantic_makes(event: Event) -> None:
    again = assembled(type(event), {name: getattr(event, name) for name in type(event).model_fields})
    assert again == event
    assert again.model_fields_set == set(type(event).model_fields)
    assert encode(again) == encode(event)
    assert again.model_dump() == event.model_dump()
    assert again.model_copy(update={"source": "import"}) != event
    assert pickle.loads(pickle.dumps(again)) == event
    with pytest.raises(ValidationError, match="frozen"):
        again.source = "import"  # type: ignore[misc]


def test_decoded_events_of_a_kind_share_their_set_of_given_fields() -> None:
    one, other = decode(encode(judgment(1))), decode(encode(judgment(2)))
    assert one.model_fields_set == set(type(one).model_fields)
    assert one.__pydantic_fields_set__ is other.__pydantic_fields_set__
