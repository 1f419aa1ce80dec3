"""Challengers and their review: the claim, each gate in plain words, the evidence, and the decision; and the history with its records.

A version with a gate that failed or lacked evidence gets no button here; the hub's API and ``streams.versions`` refuse it too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update
from pydantic import validate_call

from dashboard.actions.reviews import Conflict, NotFound
from dashboard.page_calls import page_caller
from dashboard.pages import words
from dashboard.pages.markup import aria, at
from dashboard.pages.page import Page, Parts
from dashboard.pages.review import claim, decision, evidence, findings, gates
from dashboard.pages.shell import empty, heading
from dashboard.status.models import HistoryEntry, Versions, VersionShown
from storage.errors import FeedbackLoopError, InputRefused, NotAllowed
from streams.http.visible_text import visible, without_paths


def layout(rest: str) -> Any:
    lead = "No version serves candidates before it has passed every gate, been approved by a person and, where required, won its duel."
    if rest:
        return [
            dcc.Link([html.Span(className="icon icon-back"), "All versions"], href=at("/promotions"), className="back"),
            heading(words.isolated(rest), lead),
            dcc.Store(id="promotion-version", data=rest),
            html.Div(id="promotion-claim", className="stack"),
            html.Div(id="promotion", className="stack"),
            html.Div(id="promotion-replies", className="stack"),
        ]
    return [heading("Promotions", lead), html.Div(id="promotions", className="stack"), decision.rollback()]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(Output("promotions", "children"), Output("rollback", "className"), Input("live-versions", "data"))
    @validate_call
    def listed(data: Mapping[str, Any] | None) -> tuple[Any, str]:
        versions = Versions.model_validate(data) if data else None
        if versions is None or not versions.versions:
            return empty(
                "No challenger yet",
                ["When a ", dcc.Link("run", href=at("/runs")), " has finished, its version appears here with its gates."],
                "promotions",
            ), "card hidden"
        return [
            html.Div([row(each) for each in versions.versions], className="version-list"),
            history(versions),
        ], "card" if versions.champion != "base" else "card hidden"

    @app.callback(Output("promotion", "children"), Input("live-versions", "data"), Input("promotion-version", "data"))
    @validate_call
    def opened(data: Mapping[str, Any] | None, name: str) -> Any:
        if not data:
            return no_update
        found = [each for each in Versions.model_validate(data).versions if each.version == name]
        if not found:
            return empty("No such version", dcc.Link("All versions", href=at("/promotions")), "promotions")
        return detail(found[0])

    @app.callback(Output("promotion-claim", "children"), Output("promotion-replies", "children"), Input("promotion-version", "data"))
    @validate_call
    def reported(name: str) -> tuple[Any, Any]:
        try:
            report = parts.report_of(name)
        except NotFound:
            return None, None
        except FeedbackLoopError as error:
            return html.P(words.isolated(without_paths(str(error))), className="problem-line"), None
        return claim.card(report), [*findings.sections(report), *evidence.replies(report)]

    @app.callback(
        Output({"decision": "answer", "version": ALL}, "children"),
        Input({"decision": "approve", "version": ALL}, "n_clicks"),
        Input({"decision": "reject", "version": ALL}, "n_clicks"),
        State("review-name", "value"),
        State("review-reason", "value"),
        prevent_initial_call=True,
    )
    @validate_call
    def decide(_approve: Sequence[int], _reject: Sequence[int], reviewer: str | None, reason: str | None) -> Any:
        pressed = ctx.triggered_id
        if not pressed or not ctx.triggered[0]["value"]:
            return [no_update] * len(ctx.outputs_list)
        try:
            parts.reviews.decide(
                page_caller(), pressed["version"], decision=pressed["decision"], reviewer=_typed(reviewer), reason=reason or ""
            )
        except (InputRefused, NotAllowed, NotFound, Conflict) as error:
            return [html.Span(words.isolated(error_text(error, reviewer, reason)), className="problem")]
        return [html.Span("Decided. This page updates as soon as it is stored.", className="fine")]

    @app.callback(
        Output("rollback-answer", "children"),
        Input("rollback-button", "n_clicks"),
        State("rollback-name", "value"),
        State("rollback-reason", "value"),
        prevent_initial_call=True,
    )
    @validate_call
    def roll_back(clicks: int, reviewer: str | None, reason: str | None) -> Any:
        if not clicks:
            return no_update
        try:
            parts.reviews.roll_back(page_caller(), reviewer=_typed(reviewer), reason=reason or "")
        except (InputRefused, NotAllowed, Conflict) as error:
            return html.Span(words.isolated(error_text(error, reviewer, reason)), className="problem")
        return html.Span("Rolled back. This page updates as soon as it is stored.", className="fine")


def _typed(name: str | None) -> str | None:
    """The name in the form; None for who has signed in, whose name stands there to be read."""
    return None if page_caller().person else name or ""


def error_text(error: FeedbackLoopError, reviewer: str | None, reason: str | None) -> str:
    """The error message that the page shows."""
    field = error.field if isinstance(error, InputRefused) else None
    if field == "reviewer" and not (reviewer or "").strip():
        return "Type your name first."
    if field == "reason" and not (reason or "").strip():
        return "Say why in a sentence first."
    return str(error)


def row(version: VersionShown) -> Any:
    """A version in the list: its name, its gates and its status."""
    passed = sum(gate.verdict == "passed" for gate in version.gates)
    return dcc.Link(
        [
            html.Span(
                [
                    html.Strong(words.isolated(version.version), className="mono"),
                    html.Span(["against ", words.isolated(version.champion)], className="hint"),
                ],
                className="version-name",
            ),
            html.Span(
                [html.Span(className=f"pip pip-{gate.verdict}", title=visible(words.gate(gate.name))) for gate in version.gates],
                className="pips",
                **aria(hidden="true"),
            ),
            html.Span(f"{passed} of {len(version.gates)} gates passed", className="hint"),
            status_badge(version),
            html.Span(words.clock(version.evaluated_at), className="hint when"),
        ],
        href=at(f"/promotions/{version.version}"),
        className="version-row",
        id=f"version-{version.version}",
    )


def status_badge(version: VersionShown) -> Any:
    kind = (
        "passed"
        if version.status == "champion"
        else "review"
        if version.approvable
        else version.verdict
        if version.verdict != "passed"
        else "quiet"
    )
    return html.Span(version.status.capitalize(), className=f"badge badge-{kind}")


def detail(version: VersionShown) -> Any:
    head = html.Header(
        [
            html.Div(
                [
                    html.H2("Gates"),
                    html.P(
                        [
                            "Run ",
                            html.Span(version.run_id[-8:], className="mono"),
                            " against ",
                            words.isolated(version.champion),
                            f", judged {words.clock(version.evaluated_at)}",
                        ],
                        className="hint",
                    ),
                ]
            ),
            html.Div(status_badge(version), className="card-state"),
        ],
        className="card-head",
    )
    return [html.Section([head, gates.gates(version.gates)], className="card"), decision.box(version)]


def history(versions: Versions) -> Any:
    rows = [
        html.Tr(
            [
                html.Td(words.clock(each.at), className="when"),
                html.Td(dcc.Link(words.isolated(each.version), href=at(f"/promotions/{each.version}"), className="mono")),
                html.Td(each.what.capitalize()),
                html.Td(decision.named(each.who, verified=each.verified) if each.who else "–"),
                html.Td(words.isolated(each.reason or "")),
                html.Td(_download(each)),
            ],
            className="" if each.legal else "illegal",
        )
        for each in versions.history
    ]
    head = html.Thead(html.Tr([html.Th(name) for name in ("When", "Version", "What", "Who", "Why", "Record")]))
    hint: list[Any] = [
        "A promotion's record says which evidence it rests on, signed. Check one offline with ",
        html.Code("feedbackloop attest verify FILE"),
        "; the ",
        html.A("public keys", href=at("/v1/keys"), target="_blank"),
        " are for whoever verifies it elsewhere.",
    ]
    return html.Section(
        [
            html.H2("History"),
            html.P(hint, className="hint"),
            html.Div(html.Table([head, html.Tbody(rows)], className="table history"), className="scroll"),
        ],
        className="card",
    )


def _download(entry: HistoryEntry) -> Any:
    """What can be downloaded about an event: the record of a promotion, or the judgments that decided a duel or canary."""
    address = at(f"/v1/versions/{entry.version}")
    if entry.attested is False:
        return html.Span("Not attested", className="badge badge-insufficient")
    if entry.attested:
        link = html.A("Record", href=f"{address}/record", download="", **aria(label=f"Download the record of {entry.version}"))
        return html.Span([html.Span("Attested", className="badge badge-passed"), " ", link], className="download")
    if entry.evidence:
        address = f"{address}/duel-evidence?stage={entry.evidence}"
        label = f"Download the judgments of the {entry.evidence} of {entry.version}"
        return html.A("Judgments", href=address, download="", **aria(label=label))
    return ""


PAGE = Page("/promotions", "Promotions", "promotions", layout, register)
