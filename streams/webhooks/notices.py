"""The notices that webhooks carry, made from the events of model versions. A new kind is a case here and a name in the settings."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import orjson

from storage.events import Event, ModelEvaluated, ModelPromoted, ModelRolledBack, derived_id
from streams.versions import BASE
from streams.webhooks.settings import NoticeKind


class Notice(NamedTuple):
    """``id`` derives from the event, so that receivers can drop repeats; ``body`` is the JSON that is signed."""

    id: str
    kind: NoticeKind
    body: bytes


def notices_of(events: Iterable[Event]) -> Iterator[Notice]:
    """The notices of all events that took effect, in the order of the log; other kinds of events give none."""
    champions = [BASE]
    for event in events:
        match event:
            case ModelEvaluated():
                about = {"version": event.version, "run_id": str(event.run_id), "champion": event.champion, "verdict": event.verdict}
                yield _notice("model.evaluated", event, about | {"report": event.report})
                if event.verdict != "passed":
                    stopped = [gate.model_dump(mode="json") for gate in event.gates if gate.verdict != "passed"]
                    yield _notice("gates.failed", event, about | {"gates": stopped})
            case ModelPromoted():
                yield _notice("model.promoted", event, {"version": event.version, "replaces": champions[-1], "record": event.record})
                champions.append(event.version)
            case ModelRolledBack():
                champions.pop()
                data = {"version": event.version, "champion": champions[-1], "reviewer": event.reviewer, "reason": event.reason}
                yield _notice("model.rolled_back", event, data)


def _notice(kind: NoticeKind, event: Event, data: dict[str, Any]) -> Notice:
    body = {"type": kind, "timestamp": event.occurred_at, "data": data | {"event_id": event.event_id, "source": event.source}}
    return Notice(f"msg_{derived_id('webhook', kind, event.event_id).hex}", kind, orjson.dumps(body, option=orjson.OPT_UTC_Z))
