"""Blind rating of two replies to one candidate, in random order, with one key per judgment.

The page prefetches pairs, so that a key shows the next pair at once. ``assets/rate.js`` holds them, and sends each judgment to
``/v1/judgments`` in order, with retries until the hub has accepted it.
"""

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, dcc, html

from dashboard.pages.markup import aria, in_browser
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import heading

ACTIONS = (
    ("first", "A is better", "1", "A"),
    ("second", "B is better", "2", "B"),
    ("tie", "Tie", "3", "T"),
    ("neither", "Neither", "4", "N"),
    ("skip", "Skip", "5", "S"),
    ("undo", "Undo", "U", None),
)
STRENGTHS = (("1", "negligible"), ("2", "slight"), ("3", "clear"), ("4", "significant"))
GUIDELINES = (
    "Choose the reply you would rather send to this candidate: facts right first, then a clear next step, then the tone. "
    "Length alone is no merit."
)


def layout(_rest: str) -> Any:
    return [
        heading("Rate", GUIDELINES),
        html.Section(
            [
                html.Label("You are", htmlFor="rate-name", className="field-name"),
                dmc.TextInput(id="rate-name", placeholder="your name", value="", debounce=False, size="sm", w=220, autoComplete="off"),
                html.Span("unverified until sign-in exists", className="badge badge-quiet"),
                html.Span(id="rate-progress", className="rate-progress", **aria(live="polite")),
            ],
            className="rate-who",
        ),
        html.P(id="rate-notice", className="notice hidden", role="alert"),
        html.Section(
            id="rate-empty",
            className="empty",
            children=[
                html.Span(className="icon icon-rate"),
                html.H3("Who is rating?"),
                html.P("Type your name above to see the first pair."),
            ],
        ),
        html.Section(
            [
                html.Div(id="rate-conversation", className="conversation", **aria(label="The conversation so far")),
                html.Div(
                    [
                        html.Article(
                            [html.Span("A", className="side-name"), html.P(id="rate-first", className="reply")],
                            id="rate-side-first",
                            className="reply-card",
                        ),
                        html.Article(
                            [html.Span("B", className="side-name"), html.P(id="rate-second", className="reply")],
                            id="rate-side-second",
                            className="reply-card",
                        ),
                    ],
                    className="replies",
                ),
                html.Div([action(*each) for each in ACTIONS], className="actions", role="group", **aria(label="Your judgment")),
                html.Div(
                    [
                        html.Div(
                            [
                                html.Span("How much better", className="field-name"),
                                dmc.ChipGroup(
                                    [dmc.Chip(text, value=value, size="sm", variant="outline") for value, text in STRENGTHS],
                                    id="rate-strength",
                                    value="",
                                    deselectable=True,
                                    multiple=False,
                                ),
                            ],
                            className="strength",
                        ),
                        dmc.Textarea(
                            id="rate-reason",
                            placeholder="Why? Esc returns to the keys",
                            value="",
                            autosize=True,
                            minRows=1,
                            maxRows=4,
                            **aria(label="Reason, optional"),
                        ),
                    ],
                    className="optional",
                ),
            ],
            id="rate-pair",
            className="rate-pair hidden",
        ),
        dcc.Store(id="rate-kept", storage_type="local"),
        dcc.Store(id="rate-act"),
        html.Div(id="rate-sink", hidden=True),
    ]


def action(name: str, text: str, key: str, letter: str | None) -> Any:
    return html.Button(
        [html.Span(text), html.Span([html.Kbd(key), *([html.Kbd(letter)] if letter else [])], className="keys", **aria(hidden="true"))],
        id=f"rate-{name}-button",
        className=f"action action-{name}",
        n_clicks=0,
        type="button",
        **aria(keyshortcuts=key),
    )


def register(app: Dash, parts: Parts) -> None:
    in_browser(
        app,
        "rate.act",
        Output("rate-act", "data"),
        *[Input(f"rate-{name}-button", "n_clicks") for name, *_ in ACTIONS],
        at_start=False,
    )
    in_browser(
        app,
        "rate.remember",
        Output("rate-name", "value"),
        Output("rate-kept", "data"),
        Input("rate-name", "value"),
        Input("rate-kept", "modified_timestamp"),
        Input("rate-kept", "data"),
    )
    in_browser(app, "rate.note", Output("rate-sink", "children"), Input("rate-strength", "value"), Input("rate-reason", "value"))
    in_browser(app, "rate.news", Output("rate-sink", "title"), Input("live-status", "data"), Input("rate-pair", "id"))


PAGE = Page("/rate", "Rate", "rate", layout, register, needs="feedback")
