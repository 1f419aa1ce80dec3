"""Blind rating of two replies to one candidate, in random order, with one key per judgment.

The page is ``<feedbackloop-rate>``, the element that products put into pages of their own (``access/widget/widget.js``). Where nobody
signs in, there is a field for the name above it.
"""

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, dcc, html

from dashboard.page_calls import page_caller
from dashboard.pages.markup import in_browser
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading

GUIDELINES = (
    "Choose the reply you would rather send to this candidate: facts right first, then a clear next step, then the tone. "
    "Length alone is no merit."
)


def layout(_rest: str) -> Any:
    caller = page_caller()
    if caller.person:  # who judges is who has signed in
        return [heading("Rate", GUIDELINES), html.Div(id="rate-signed-in")]
    return [
        heading("Rate", GUIDELINES),
        html.Section(
            [
                html.Label("You are", htmlFor="rate-name", className="field-name"),
                dmc.TextInput(id="rate-name", placeholder="your name", value="", debounce=False, size="sm", w=220, autoComplete="off"),
                html.Span("unverified", className="badge badge-quiet"),
            ],
            className="rate-who",
        ),
        html.Div(empty("Who is rating?", "Type your name above to see the first pair.", "rate"), id="rate-empty"),
        html.Div(id="rate-element"),
        dcc.Store(id="rate-kept", storage_type="local"),
    ]


def register(app: Dash, parts: Parts) -> None:
    in_browser(app, "rate.signedIn", Output("rate-signed-in", "className"), Input("rate-signed-in", "id"))
    in_browser(
        app,
        "rate.remember",
        Output("rate-name", "value"),
        Output("rate-kept", "data"),
        Input("rate-name", "value"),
        Input("rate-kept", "modified_timestamp"),
        Input("rate-kept", "data"),
    )


PAGE = Page("/rate", "Rate", "rate", layout, register, needs="feedback")
