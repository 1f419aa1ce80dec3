"""Untrusted names, reasons and gates: invisible characters are shown as escapes, and their writing direction is isolated."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from dash import Dash
from plotly.io.json import to_json_plotly

from dashboard.pages import promotions
from dashboard.pages.review import decision
from dashboard.status.models import HistoryEntry, Review, Versions, VersionShown
from storage.events import GateResult
from streams.http.visible_text import INVISIBLE, first_invisible, visible, without_paths

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HIDDEN = "\u202a\u202e\u2066\u2069\u200b\x1b"
GATE = GateResult(
    name="facts", verdict="failed", figure=0.1, low=0.0, high=0.2, n=3, limit=f"limit{HIDDEN}", unit="sd", words=f"words{HIDDEN}"
)
VERSION = VersionShown(
    version=f"v-1{HIDDEN}", status="rejected", verdict="failed", run_id="run-0001", champion=f"base{HIDDEN}", evaluated_at=NOW,
    gates=(GATE,), report="", policy="", reviewable=False, approvable=False, reasons=(f"facts: reason{HIDDEN}",), simulated=False,
    duel=True, withdrawable=False,
    reviews=(Review(decision="reject", reviewer=f"Noor{HIDDEN}", reason=f"why{HIDDEN}", occurred_at=NOW),),
)  # fmt: skip
ENTRY = HistoryEntry(at=NOW, what="rejected", version=f"v-1{HIDDEN}", who=f"Noor{HIDDEN}", reason=f"why{HIDDEN}", legal=True)
VERSIONS = Versions(champion="base", previous=None, versions=(VERSION,), history=(ENTRY,))
DUE = VERSION.model_copy(update={"reviewable": True})
DECIDED = VERSION.model_copy(update={"gates": ()})


@pytest.fixture(autouse=True, scope="module")
def app() -> Dash:
    """Links ask the process's newest app for its path prefix."""
    return Dash("hidden characters")


def shown(part: Any) -> Iterator[tuple[str, str]]:
    """Each text that the part shows, with the kind of element that holds it."""
    if isinstance(part, list):
        for each in part:
            yield from shown(each)
    elif isinstance(part, dict) and "props" in part:
        children = part["props"].get("children")
        for child in children if isinstance(children, list) else [children]:
            if isinstance(child, str):
                yield part["type"], child
            else:
                yield from shown(child)


@pytest.mark.parametrize(
    "part",
    [
        lambda: promotions.row(VERSION),
        lambda: promotions.detail(VERSION),
        lambda: promotions.history(VERSIONS),
        lambda: promotions.layout(VERSION.version),
        lambda: decision.box(DUE),
        lambda: decision.box(DECIDED),
    ],
    ids=["row", "detail", "history", "heading", "form", "decided"],
)
def test_untrusted_text_is_shown_without_hidden_characters(part: Any) -> None:
    texts = list(shown(json.loads(to_json_plotly(part()))))
    assert not [text for _, text in texts if first_invisible(text)]
    escaped = [(kind, text) for kind, text in texts if visible(HIDDEN) in text]
    assert escaped
    assert {kind for kind, _ in escaped} == {"Bdi"}, "Bdi isolates the writing direction of its content"


def test_visible_text_has_no_character_of_the_invisible_kinds() -> None:
    text = "Zoë Ortega 陈 \U000e0041" + HIDDEN
    assert visible(text) == r"Zoë Ortega 陈 \U000e0041\u202a\u202e\u2066\u2069\u200b\x1b"
    assert first_invisible("Zoë Ortega 陈") is None
    assert INVISIBLE


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("no log at /srv/loop/.feedbackloop/bus.sqlite; start it", "no log at bus.sqlite; start it"),
        ("cannot open 'sqlite:////srv/loop/b c/bus.sqlite'", "cannot open 'bus.sqlite'"),
        ("[Errno 28] No space left on device: '/srv/loop b/outbox.sqlite'", "[Errno 28] No space left on device: 'outbox.sqlite'"),
        ("http://127.0.0.1:9/v1/chat/completions does not answer", "http://127.0.0.1:9/v1/chat/completions does not answer"),
        ("32 requests and/or replies, 3/4 full", "32 requests and/or replies, 3/4 full"),
        ("kafka://broker-1:9092 is away", "kafka://broker-1:9092 is away"),
    ],
)
def test_a_path_is_shortened_to_its_last_part_and_an_address_stays(said: str, left: str) -> None:
    assert without_paths(said) == left
