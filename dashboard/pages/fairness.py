"""Fairness: impact ratios of the decisions that were recorded, and contrasts between groups in what was learnt, version by version."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, cast, get_args
from urllib.parse import urlencode

import dash_mantine_components as dmc
from dash import Dash, Input, Output, dcc, html, no_update
from pydantic import validate_call

from dashboard.pages import contrasts, outcomes
from dashboard.pages.markup import at
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading
from dashboard.status.contrasts import Family, families
from dashboard.status.models import Versions
from storage.errors import FeedbackLoopError, InputRefused
from storage.events import Source

TREND = 12  # versions of the trend, the newest
REPORTS = 64  # reports whose contrasts are kept in memory
SOURCES = (("product", "Real candidates"), ("simulation", "Simulated candidates"))


def layout(_rest: str) -> Any:
    lead = "Are candidates treated alike: in the decisions about them, in the replies they get, and in recruiters' judgments?"
    today = datetime.now(UTC).date()
    form = html.Div(
        [
            _date("From", "outcomes-from", today - timedelta(days=365)),
            _date("To", "outcomes-to", today),
            dmc.SegmentedControl(
                id="outcomes-source", value=SOURCES[0][0], data=[{"value": value, "label": label} for value, label in SOURCES]
            ),
        ],
        className="form-row period",
    )
    hint = "Selection rates and impact ratios as New York City's Local Law 144 defines them, with bounds. Days are in UTC."
    decisions = html.Section(
        [html.H2("Decisions about candidates"), html.P(hint, className="hint"), form, html.Div(id="outcomes", className="stack")],
        className="card",
    )
    return [heading("Fairness", lead), html.Div([decisions, html.Div(id="contrasts", className="stack")], className="stack")]


def _date(label: str, name: str, value: date) -> Any:
    return dmc.TextInput(id=name, label=label, value=value.isoformat(), placeholder="YYYY-MM-DD", debounce=True, autoComplete="off", w=150)


def register(app: Dash, parts: Parts) -> None:
    @lru_cache(REPORTS)
    def measured(version: str, _report: str) -> tuple[Family, ...] | None:
        try:
            return families(parts.report_of(version))
        except FeedbackLoopError:
            return None  # it is missing, or of an incompatible version; the page says so

    @app.callback(
        Output("outcomes", "children"),
        Input("outcomes-from", "value"),
        Input("outcomes-to", "value"),
        Input("outcomes-source", "value"),
    )
    @validate_call
    def ratios(since: str | None, until: str | None, source: str) -> Any:
        try:
            days = _day(since, "From"), _day(until, "To")
            if source not in get_args(Source):
                raise InputRefused(f"source: {source[:80]!r} is not a source; use {', '.join(get_args(Source))}", "source")
            found = parts.impact_ratios(*days, (cast(Source, source),))
        except InputRefused as error:
            return html.P(str(error), className="problem-line")
        if not found.applications:
            return empty(f"No decisions recorded from {found.since} to {found.until}", _send(source), "fairness")
        return outcomes.tables(found, urlencode({"from": found.since, "to": found.until, "source": source}))

    @app.callback(Output("contrasts", "children"), Input("live-versions", "data"))
    @validate_call
    def compared(data: Mapping[str, Any] | None) -> Any:
        if not data:
            return no_update
        listed = Versions.model_validate(data).versions
        if not listed:
            text = ["When a ", dcc.Link("run", href=at("/runs")), " has finished, its contrasts between groups of candidates appear here."]
            return empty("No version has been evaluated yet", text, "fairness")
        by_version = [(each, measured(each.version, each.report)) for each in listed[:TREND]]
        newest, found = by_version[0]
        known = [(each.version, families) for each, families in reversed(by_version) if families]
        unread = [each.version for each, families in by_version if families is None]
        return [contrasts.newest(newest, found), contrasts.trend(known, unread)]


def _day(text: str | None, name: str) -> date:
    try:
        return date.fromisoformat(text or "")
    except ValueError as error:
        raise InputRefused(f"{name}: {(text or '')[:20]!r} is not a day; write it as 2026-01-31", name) from error


EXAMPLE: Mapping[str, Any] = {
    "candidate": "c-1042",
    "groups": {"sex": "female", "race_ethnicity": "Hispanic or Latino"},
    "outcome": {"position": "staff nurse", "stage": "screening", "selected": True, "score": 71},
}


def _send(source: str) -> Sequence[Any]:
    if source == "simulation":
        return ["Simulated candidates have no decisions here. Those of real candidates are under “Real candidates”."]
    return [
        "Record a decision with its candidate's groups at the chat API, and they appear here: ",
        html.Code("POST /v1/outcomes"),
        html.Span(json.dumps(EXAMPLE, ensure_ascii=False, indent=1), className="example mono"),
    ]


PAGE = Page("/fairness", "Fairness", "fairness", layout, register)
