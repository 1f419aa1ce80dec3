"""The duel of an approved challenger with the champion: the evidence as it comes in, the line that wins, and the monitored groups."""

from collections.abc import Mapping
from typing import Any

from dash import Dash, Input, Output, dcc, html
from pydantic import validate_call

from dashboard.pages import charts, words
from dashboard.pages.markup import at
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading, table
from dashboard.status.models import DuelShown, Ending

STATUSES = {
    "duel": ("Undecided", "review"),
    "canary": ("Canary", "review"),
    "approved": ("Won", "passed"),
    "champion": ("Won", "passed"),
    "retired": ("Retired", "quiet"),
    "rejected": ("Withdrawn", "quiet"),
    "rolled back": ("Rolled back", "quiet"),
}
ENDINGS = {
    "better": "Recruiters prefer the challenger",
    "futile": "Not worth going on",
    "harm": "Stopped for harm to a group",
    "expired": "Expired",
}


def layout(_rest: str) -> Any:
    lead = "Recruiters judge the challenger's replies against the champion's without knowing which is which. Candidates get the champion's."
    return [heading("Duel", lead), html.Div(id="duel", className="stack")]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(Output("duel", "children"), Input("live-duel", "data"))
    @validate_call
    def draw(data: Mapping[str, Any] | None) -> Any:
        if not data:
            return empty(
                "No duel yet",
                ["A version that a reviewer has approved on the page ", dcc.Link("Promotions", href=at("/promotions")), " starts one."],
                "duel",
            )
        duel = DuelShown.model_validate(data)
        told: list[Any] = [ending(each, duel.version) for each in duel.endings]
        ended: Any = html.Section([html.H2("How it ended"), *told], className="card") if told else None
        return [standing(duel), groups(duel), ended]


def standing(duel: DuelShown) -> Any:
    state, rule = duel.state, duel.rule
    name, kind = STATUSES.get(duel.status, (duel.status.capitalize(), "quiet"))
    title = [
        dcc.Link(words.isolated(duel.version), href=at(f"/promotions/{duel.version}"), className="mono"),
        " against ",
        words.isolated(duel.champion),
    ]
    head = html.Header(
        [
            html.Div([html.H2(title), html.P(words.isolated(duel.canary or state.words), className="hint")]),
            html.Div(html.Span(name, className=f"badge badge-{kind}"), className="card-state"),
        ],
        className="card-head",
    )
    held_back = state.judgments - state.counted
    used = f"{words.count(state.counted)} of at most {words.count(rule.budget)}, by {words.plural(state.recruiters, 'recruiter')}"
    bounds = f"at least {words.percent(state.low, 1)}, at most {words.percent(state.high, 1)}"
    rows = [
        ("Judgments that count", used),
        ("Won, level, lost", f"{state.wins}, {state.ties}, {state.losses}"),
        ("Win rate", f"{words.percent(state.win_rate, 1)} ({bounds})"),
        ("Evidence for the challenger", f"{state.better:.3g}; {state.needed:g} wins, with at least {rule.min_judgments} judgments"),
        ("Evidence against a win rate of " + words.percent(rule.least), f"{state.futile:.3g}; {1 / rule.futility_alpha:g} ends the duel"),
    ]
    if held_back:
        share = words.percent(rule.recruiter_share)
        rows.append(("Stored, but not counted", f"{words.count(held_back)}: nobody supplies more than {share} of the evidence"))
    error = (
        f"A challenger that is not preferred wins with a probability of at most {words.percent(rule.alpha)}, however often this page is "
        f"looked at. One that is preferred in {words.percent(rule.least)} of cases or more is given up with a probability of at most "
        f"{words.percent(rule.futility_alpha)}, or when the budget is used."
    )
    chart = dcc.Graph(figure=charts.wealth(duel.judgments, duel.wealth, state.needed), config=charts.CONFIG, className="chart")
    return html.Section([head, chart, table(rows), html.P(error, className="hint")], className="card", id="duel-standing")


def groups(duel: DuelShown) -> Any:
    margin = words.percent(duel.rule.harm_margin)
    if not duel.state.groups:
        text = "No groups of candidates are recorded, so harm to one of them cannot be seen here."
        return html.Section([html.H2("Groups"), html.P(text, className="hint")], className="card")
    names = ("Judgments", "Win rate", "Evidence of harm", "Evidence against harm")
    head = html.Thead(html.Tr([html.Th("Candidates"), *[html.Th(name, className="number") for name in names]]))
    body = [
        html.Tr(
            [
                html.Td([words.isolated(each.attribute.replace("_", " ")), ": ", words.isolated(each.group)]),
                html.Td(words.count(each.judgments), className="number"),
                html.Td(words.percent(each.win_rate, 1), className="number"),
                html.Td(f"{each.evidence:.3g} of {1 / each.alpha:.0f}", className="number"),
                html.Td("cleared" if each.cleared else f"{each.clearing:.3g} of {1 / duel.rule.harm_alpha:.0f}", className="number"),
            ]
        )
        for each in duel.state.groups
    ]
    hint = (
        f"The duel stops at once when the challenger is shown to be worse for a group by more than {margin}, and it cannot be won before "
        f"that is ruled out for each group with {words.percent(duel.rule.group_share)} of the judgments."
    )
    rows = html.Div(html.Table([head, html.Tbody(body)], className="table"), className="scroll")
    return html.Section([html.H2("Groups"), html.P(hint, className="hint"), rows], className="card")


def ending(found: Ending, version: str) -> Any:
    address = at(f"/v1/versions/{version}/duel-evidence?stage={found.stage}")
    download: list[Any] = [" ", html.A("Download the judgments", href=address, download="")] if found.evidence else []
    return html.P(
        [
            html.Strong(f"{found.stage.capitalize()}: {ENDINGS.get(found.outcome, found.outcome)}"),
            f", {words.clock(found.at)}. ",
            words.isolated(found.words),
            *download,
        ]
    )


PAGE = Page("/duel", "Duel", "duel", layout, register)
