"""The audit trail: who signed in, was refused or decided something, and each change of access."""

from typing import Any

from dash import Dash, Input, Output, html

from dashboard.pages import words
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading
from dashboard.status.people import AuditEntry

LEAD = "Sign-ins, refusals, decisions, changes of access, and what was ended by retention, the newest first. All of it stays on the log."


def layout(_rest: str) -> Any:
    return [heading("Audit trail", LEAD), html.Div(id="audit-trail")]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(Output("audit-trail", "children"), Input("audit-trail", "id"))
    def listed(_id: str) -> Any:
        return table(parts.people.trail())


def table(entries: list[AuditEntry]) -> Any:
    if not entries:
        return empty("Nothing yet", "In open mode nobody signs in and there are no keys, so nothing is recorded.", "fairness")
    head = html.Thead(html.Tr([html.Th(name, scope="col") for name in ("When", "What", "Who", "About")]))
    rows = [
        html.Tr(
            [
                html.Td(words.clock(each.occurred_at), className="when"),
                html.Td(each.what.capitalize()),
                html.Td(words.isolated(each.who or "–")),
                html.Td(words.isolated(each.about or "")),
            ]
        )
        for each in entries
    ]
    return html.Section(html.Div(html.Table([head, html.Tbody(rows)], className="table"), className="scroll"), className="card")


PAGE = Page("/audit", "Audit trail", "audit", layout, register, needs="export")
