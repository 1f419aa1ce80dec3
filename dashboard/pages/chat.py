"""Talk to a served version: two replies at once, judged blind, and then what the reward model thinks of them.

``assets/chat.js`` holds the conversation and calls ``/v1/chat``. What is written here is logged as a candidate's chat would be.
"""

from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, dcc, html

from dashboard.page_calls import page_caller
from dashboard.pages.markup import aria, in_browser
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import heading

LEAD = "Ask what a candidate would ask, and choose the better of two replies. What is written and chosen here is logged and learnt from."
EXAMPLE = (
    "Answer the candidate by these facts.\nCandidate: Robin\nRole: Bus Driver\nEmployer: Maple Transit\nStage: first interview\n"
    "Documents: passport and licence\nNext news: by Thursday\nAsked about: papers"
)  # as the shipped model was taught: the last line is the topic that the product has recognised
CHOICES = (("A", "A is better", "1"), ("B", "B is better", "2"), ("tie", "Tie", "3"), ("neither", "Neither", "4"))


def layout(_rest: str) -> Any:
    caller = page_caller()
    return [
        heading("Chat", LEAD),
        html.Section(
            [
                html.Label("Model", htmlFor="chat-model", className="field-name"),
                dmc.Select(id="chat-model", data=[], value=None, size="sm", w=260, allowDeselect=False, placeholder="looking …"),
                html.Label("You are", htmlFor="chat-name", className="field-name"),
                dmc.TextInput(
                    id="chat-name",
                    placeholder="your name, to judge",
                    value=caller.display_name,
                    disabled=caller.person is not None,
                    size="sm",
                    w=200,
                    autoComplete="off",
                ),
                html.Button("New conversation", id="chat-new", className="quiet-button", n_clicks=0, type="button"),
            ],
            className="rate-who",
        ),
        html.P(id="chat-about", className="hint", **aria(live="polite")),
        html.P(id="chat-notice", className="notice hidden", role="alert"),
        html.Details(
            [
                html.Summary("Instructions to the chatbot: the facts that it may use"),
                dmc.Textarea(
                    id="chat-facts",
                    value="",
                    autosize=True,
                    minRows=3,
                    maxRows=10,
                    placeholder=EXAMPLE,
                    **aria(label="Instructions to the chatbot"),
                ),
                html.Button("Use the example", id="chat-example", className="quiet-button", n_clicks=0, type="button"),
            ],
            className="chat-facts",
        ),
        html.Div(id="chat-conversation", className="conversation", **aria(label="The conversation so far", live="polite")),
        html.Section(
            [
                html.Div(
                    [
                        html.Article(
                            [
                                html.Span(side, className="side-name"),
                                html.P(id=f"chat-{side}", className="reply"),
                                html.P(id=f"chat-opinion-{side}", className="hint"),
                            ],
                            className="reply-card",
                        )
                        for side in ("A", "B")
                    ],
                    className="replies",
                ),
                html.Div(
                    [
                        html.Button(
                            [html.Span(text), html.Span([html.Kbd(key)], className="keys", **aria(hidden="true"))],
                            id=f"chat-{choice}-button",
                            className="action",
                            n_clicks=0,
                            type="button",
                            **aria(keyshortcuts=key),
                        )
                        for choice, text, key in CHOICES
                    ],
                    className="actions",
                    role="group",
                    **aria(label="Your judgment"),
                ),
                html.P(id="chat-verdict", className="hint", **aria(live="polite")),
            ],
            id="chat-pair",
            className="hidden",
        ),
        html.Div(
            [
                dmc.Textarea(
                    id="chat-message",
                    value="",
                    autosize=True,
                    minRows=2,
                    maxRows=8,
                    placeholder="Write as a candidate; Enter sends, Shift and Enter begins a line",
                    **aria(label="Your message"),
                ),
                html.Button("Send", id="chat-send", className="action", n_clicks=0, type="button"),
            ],
            className="chat-write",
        ),
        dcc.Store(id="chat-sink"),
        dcc.Store(id="chat-example-text", data=EXAMPLE),
    ]


def register(app: Dash, parts: Parts) -> None:
    in_browser(
        app,
        "chat.act",
        Output("chat-sink", "data"),
        *[Input(f"chat-{name}", "n_clicks") for name in ("send", "new", "example", *(f"{choice}-button" for choice, _, _ in CHOICES))],
        at_start=False,
    )
    in_browser(
        app,
        "chat.note",
        Output("chat-about", "children"),
        *[Input(f"chat-{name}", "value") for name in ("model", "name", "facts", "message")],
        Input("chat-example-text", "data"),
    )


PAGE = Page("/chat", "Chat", "chat", layout, register, needs="feedback")
