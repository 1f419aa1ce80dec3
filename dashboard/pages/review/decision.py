"""The reviewer's forms: approve or reject a version that awaits review, and roll back the champion."""

from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from dashboard.page_calls import page_caller
from dashboard.pages import words
from dashboard.pages.markup import at
from dashboard.status.models import VersionShown


def box(version: VersionShown) -> Any:
    """The review form if a decision is due; otherwise why none can be made, or the decision made."""
    if version.reviewable:
        approve = "Approve for the duel" if version.duel else "Approve and serve"
        return html.Section(
            [
                html.H2("Your decision"),
                html.P(words.isolated(_advice(version)), className="hint"),
                *_name_and_reason("review"),
                html.Div(
                    [
                        *(
                            [
                                dmc.Button(
                                    approve,
                                    id={"decision": "approve", "version": version.version},
                                    n_clicks=0,
                                )
                            ]
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
    if version.withdrawable:
        return _withdrawal(version)
    decisions = [
        html.P(
            [
                html.Strong("Approved" if review.decision == "approve" else "Rejected"),
                " by ",
                *named(review.reviewer, verified=review.verified),
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


def named(name: str, *, verified: bool) -> list[Any]:
    """Who decided; marked if the name was typed."""
    return [words.isolated(name), *([] if verified else [" ", html.Span("unverified", className="badge badge-quiet")])]


def _withdrawal(version: VersionShown) -> Any:
    """The form that ends a duel: a reviewer rejects the version."""
    text: list[Any] = [
        "Approved; it is now compared with the champion on the page ",
        dcc.Link("Duel", href=at("/duel")),
        ". You can still withdraw it.",
    ]
    return html.Section(
        [
            html.H2("In its duel"),
            html.P(text, className="hint"),
            *_name_and_reason("review"),
            html.Div(
                [
                    dmc.Button("Withdraw", id={"decision": "reject", "version": version.version}, n_clicks=0, variant="default"),
                    html.Span(id={"decision": "answer", "version": version.version}, role="status"),
                ],
                className="form-row",
            ),
        ],
        className="card decision",
        id="decision",
    )


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
        after = " Approved, it duels with the champion before candidates see it." if version.duel else ""
        return f"Every gate passed. Look at the replies below, above all the five worst, before you decide.{after}"
    return f"It can only be rejected now: {' '.join(version.reasons)}."


def _name_and_reason(prefix: str) -> list[Any]:
    caller = page_caller()
    return [
        html.Div(
            [
                dmc.TextInput(
                    id=f"{prefix}-name",
                    label="Your name",
                    description="as you have signed in" if caller.person else "unverified",
                    value=caller.display_name,
                    disabled=caller.person is not None,
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
