"""Who may call: people and their roles, and API keys. They are changed on the command line, on the hub's machine."""

from datetime import datetime
from typing import Any

from dash import Dash, Input, Output, html

from access.keys import ApiKey
from access.people.roles import Person
from access.people.store import Account
from dashboard.pages import words
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading, table_card


def layout(_rest: str) -> Any:
    return [heading("People", "Who may sign in, which API keys there are, and what each may do."), html.Div(id="people", className="stack")]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(Output("people", "children"), Input("people", "id"))
    def listed(_id: str) -> Any:
        return [_people(parts.people.people()), _keys(parts.people.keys())]


def _people(found: list[tuple[Account, Person | None]]) -> Any:
    if not found:
        return empty("No people yet", ["Add somebody with ", html.Code("feedbackloop people add LOGIN --role recruiter"), "."], "fairness")
    rows = [
        [
            words.isolated(account.name),
            words.isolated(account.login),
            "may not sign in" if person is None else ", ".join(person.roles),
            html.Code(account.person),
        ]
        for account, person in found
    ]
    return table_card("People", ("Name", "Login", "Roles", "On the log"), rows)


def _keys(found: list[tuple[ApiKey, str | None]]) -> Any:
    if not found:
        return empty("No API keys", ["Products call with keys: ", html.Code("feedbackloop keys create NAME --scope chat"), "."], "join")
    rows = [
        [
            words.isolated(key.name),
            html.Code(key.key_id),
            ", ".join(key.scopes),
            words.plural(len(key.recruiters), "recruiter") if key.recruiters else "all recruiters",
            words.clock(key.issued_at),
            "ended" if objection else _end(key.revoked_at or key.expires_at),
        ]
        for key, objection in found
    ]
    return table_card("API keys", ("Name", "Key", "Scopes", "Speaks for", "Issued", "State"), rows)


def _end(moment: datetime | None) -> str:
    return "valid" if moment is None else f"valid until {words.clock(moment)}"


PAGE = Page("/people", "People", "people", layout, register, needs="admin")
