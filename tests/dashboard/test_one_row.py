"""A new page of the dashboard: one file and one row."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from dashboard.pages import table
from tests.dashboard.small_world import running_hub
from tests.one_row import added

PAGE = '''
"""Greets whoever is named in the address."""

from dash import Input, Output, html

from dashboard.pages.page import Page


def layout(rest):
    return [html.H1(f"Hello {rest}"), html.P(id="greeting")]


def register(app, parts):
    @app.callback(Output("greeting", "children"), Input("live-status", "data"))
    def greet(status):
        return "It is a fine day."


PAGE = Page("/greeting", "Greeting", "greeting", layout, register)
'''


def call(output: str, one: str, prop: str, value: Any) -> dict[str, Any]:
    name, _, place = output.partition(".")
    return {
        "output": output,
        "outputs": {"id": name, "property": place},
        "inputs": [{"id": one, "property": prop, "value": value}],
        "changedPropIds": [f"{one}.{prop}"],
    }


def test_a_page_is_in_the_navigation_at_its_address_and_answers_its_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = added(tmp_path, monkeypatch, "greeting_page", PAGE).PAGE
    monkeypatch.setattr(table, "PAGES", (*table.PAGES, page))
    with running_hub(tmp_path / "home") as running:
        client = TestClient(running.hub.app, "http://127.0.0.1")
        frame = json.dumps(client.get("/_dash-layout").json())
        assert '"href": "/greeting"' in frame
        assert '"Greeting"' in frame
        shown = client.post("/_dash-update-component", json=call("page.children", "address", "pathname", "/greeting/ada"))
        assert "Hello ada" in shown.text
        assert (
            "It is a fine day." in client.post("/_dash-update-component", json=call("greeting.children", "live-status", "data", None)).text
        )
