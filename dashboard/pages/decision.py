"""The reviewer's forms: approve or reject a version that awaits review, and roll back the champion."""

from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboard.pages import words
from dashboard.status.models import VersionShown


def box(version: VersionShown) -> Any:
    """The review form if a decision is due; otherwise why none can be made, or the decision made."""
    if version.reviewable:
        return html.Section(
            [
                html.H2("Your decision"),
                html.P(words.isolated(_advice(version)), className="hint"),
                *_name_and_reason("review"),
                html.Div(
                    [
                        *(
                            [dmc.Button("Approve and serve", id={"decision": "approve", "version": version.version}, n_clicks=0)]
                            if version.approvable
                            else []
                        ),
                        dmc.Button("Reject", id={"decision": "reject", "version": version.version}, n_clicks=0, variant="default"),
                        html.Span(id={"decision": "answer", "version": version.version}, role="status"),
                    ],
                    className="form-row",
                ),
            ],
            className="card decision",
            id="decision",
        )
    decisions = [
        html.P(
            [
                html.Strong("Approved" if review.decision == "approve" else "Rejected"),
                " by ",
                words.isolated(review.reviewer),
                " ",
                html.Span("unverified", className="badge badge-quiet"),
                f" on {words.clock(review.occurred_at)}: “",
                words.isolated(review.reason),
                "”",
            ]
        )
        for review in version.reviews
    ]
    blocked = any(gate.verdict != "passed" for gate in version.gates)
    if blocked:
        title = "Cannot be promoted"
        why: list[Any] = [
            html.P(
                "A version with a gate that failed or lacked evidence can never serve candidates: there is no button, and the API refuses.",
                className="hint",
            )
        ]
        why += [html.Ul([html.Li(_named(reason)) for reason in version.reasons], className="reasons")]
    else:
        title, why = (
            "Decided" if decisions else "No decision is due",
            [] if decisions else [html.P(words.isolated(reason), className="hint") for reason in version.reasons],
        )
    return html.Section([html.H2(title), *why, *decisions], className="card decision" + (" blocked" if blocked else ""), id="decision")


def rollback() -> Any:
    """The rollback form; hidden while the base model serves."""
    return html.Section(
        [
            html.H2("Roll back"),
            html.P("Withdraw the champion at once; the champion before it serves again.", className="hint"),
            *_name_and_reason("rollback"),
            html.Div(
                [
                    dmc.Button("Roll back", id="rollback-button", n_clicks=0, color="orange", variant="outline"),
                    html.Span(id="rollback-answer", role="status"),
                ],
                className="form-row",
            ),
        ],
        id="rollback",
        className="card hidden",
    )


def _advice(version: VersionShown) -> str:
    if version.approvable:
        return "Every gate passed. Look at the replies below, above all the five worst, before you decide."
    return f"It can only be rejected now: {' '.join(version.reasons)}."


def _name_and_reason(prefix: str) -> list[Any]:
    return [
        html.Div(
            [
                dmc.TextInput(
                    id=f"{prefix}-name",
                    label="Your name",
                    description="unverified until sign-in exists",
                    value="",
                    autoComplete="off",
                    w=260,
                ),
                dmc.Textarea(
                    id=f"{prefix}-reason",
                    label="Why",
                    description="kept with the decision for ever",
                    value="",
                    autosize=True,
                    minRows=1,
                    maxRows=5,
                    className="grow",
                ),
            ],
            className="form-row top",
        )
    ]


def _named(reason: str) -> Any:
    name, _, text = reason.partition(": ")
    return [html.Strong(words.isolated(words.gate(name))), " ", words.isolated(text)]
