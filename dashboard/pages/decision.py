"""Where a reviewer decides: approve or reject a version that awaits review, and roll the champion back."""

from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboard.pages import words
from dashboard.status.models import VersionShown


def box(version: VersionShown) -> Any:
    """The form where a decision is due; the reasons where none can be made; the decision where it has been made."""
    if version.reviewable:
        return html.Section(
            [
                html.H2("Your decision"),
                html.P(words.isolated(_advice(version)), className="hint"),
                *_who("review"),
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
    said = [
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
                "A version with a gate failed or short of evidence has no way to candidates: no button, and the API refuses.",
                className="hint",
            )
        ]
        why += [html.Ul([html.Li(_named(reason)) for reason in version.reasons], className="reasons")]
    else:
        title, why = (
            "Decided" if said else "No decision is due",
            [] if said else [html.P(words.isolated(reason), className="hint") for reason in version.reasons],
        )
    return html.Section([html.H2(title), *why, *said], className="card decision" + (" blocked" if blocked else ""), id="decision")


def rollback() -> Any:
    """The way back to the champion before; hidden while the base model serves."""
    return html.Section(
        [
            html.H2("Roll back"),
            html.P("Withdraw the champion at once; the champion before it serves again.", className="hint"),
            *_who("rollback"),
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


def _who(prefix: str) -> list[Any]:
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
