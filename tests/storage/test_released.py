"""Every released version of every event stays readable, and no model changes without a new version.

``released/KIND.vN.json`` is an example written by that version, ``released/KIND.vN.schema.json`` its JSON schema. For a changed model:
give it the next ``schema_version``, add an upcaster, and write its two files with ``python -m tests.storage.test_released``.
"""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import TypeAdapter

from storage import events
from storage.errors import EventUnreadable, SchemaTooNew
from storage.events import EVENTS, Event, newest_version, upcasters, wire
from storage.events.wire import decode, encode
from tests.storage.facts import one_of_each

RELEASED = Path(__file__).with_name("released")
VERSIONS = [(kind, version) for kind, model in EVENTS.items() for version in range(1, newest_version(model) + 1)]


def schema_of(model: type[Event]) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(json.dumps(model.model_json_schema()))
    return schema


@pytest.mark.parametrize(("kind", "version"), VERSIONS)
def test_an_example_of_every_released_version_is_read_as_the_newest(kind: str, version: int) -> None:
    raw = (RELEASED / f"{kind}.v{version}.json").read_bytes()
    assert json.loads(raw)["schema_version"] == version
    event = decode(raw)
    assert type(event) is EVENTS[kind]
    assert event.schema_version == newest_version(EVENTS[kind])
    assert decode(encode(event)) == event


@pytest.mark.parametrize("kind", EVENTS)
def test_a_model_that_changed_has_a_new_version(kind: str) -> None:
    model = EVENTS[kind]
    file = RELEASED / f"{kind}.v{newest_version(model)}.schema.json"
    assert schema_of(model) == json.loads(file.read_text(encoding="utf-8")), (
        f"{kind} no longer matches the schema of version {newest_version(model)}: give it the next schema_version, an upcaster in"
        " storage/events/upcasters.py, and its files here by 'python -m tests.storage.test_released'"
    )


class Grown(Event):
    """A thumb as a later version might be: with a grade instead of a thumb."""

    kind: Literal["ResponseRated"] = "ResponseRated"
    schema_version: Literal[3] = 3  # type: ignore[assignment]
    grade: int
    scale: int


def test_an_old_event_goes_through_every_version_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(events.EVENTS, "ResponseRated", Grown)
    monkeypatch.setattr(wire, "_ANY", TypeAdapter(Grown).validator)
    monkeypatch.setitem(
        upcasters.UPCASTERS,
        ("ResponseRated", 1),
        lambda old: {k: old[k] for k in ("kind", "event_id", "occurred_at", "source")} | {"grade": 5 if old["thumb"] == "up" else 1},
    )
    monkeypatch.setitem(upcasters.UPCASTERS, ("ResponseRated", 2), lambda old: old | {"scale": 5})
    raw = (RELEASED / "ResponseRated.v1.json").read_bytes()
    event = decode(raw)
    assert isinstance(event, Grown)
    assert (event.grade, event.scale, event.schema_version) == (5 if json.loads(raw)["thumb"] == "up" else 1, 5, 3)
    with pytest.raises(SchemaTooNew, match="reads up to 3"):
        decode(json.dumps(json.loads(raw) | {"schema_version": 4}).encode())
    for nonsense in (0, -1, "1", None):
        with pytest.raises(EventUnreadable, match="schema_version"):
            decode(json.dumps(json.loads(raw) | {"schema_version": nonsense}).encode())


def main() -> None:
    """Write the files of versions that have none yet; released files are never overwritten."""
    for event in one_of_each():
        model = type(event)
        name = f"{event.kind}.v{newest_version(model)}"
        for file, text in (
            (RELEASED / f"{name}.json", encode(event).decode()),
            (RELEASED / f"{name}.schema.json", json.dumps(schema_of(model), indent=1)),
        ):
            if not file.exists():
                file.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
