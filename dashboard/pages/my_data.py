"""What the service holds of who has signed in."""

from typing import Any

from dash import Dash, Input, Output, html

from dashboard.page_calls import page_caller
from dashboard.pages import words
from dashboard.pages.markup import at, in_browser
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading, table
from dashboard.status.people import PersonData


def layout(_rest: str) -> Any:
    return [heading("My data", "What this service holds of you."), html.Div(id="my-data", className="stack")]


def register(app: Dash, parts: Parts) -> None:
    in_browser(
        app,
        "shell.signOutEverywhere",
        Output("sign-out-everywhere", "disabled"),
        Input("sign-out-everywhere", "n_clicks"),
        at_start=False,
    )

    @app.callback(Output("my-data", "children"), Input("my-data", "id"))
    def shown(_id: str) -> Any:
        person = page_caller().person
        found = None if person is None else parts.people.of(person)
        return empty("Nobody has signed in", "This page is for people with an account.", "fairness") if found is None else cards(found)


def cards(data: PersonData) -> list[Any]:
    account = [
        ("Name", words.isolated(data.name)),
        ("Login", words.isolated(data.login)),
        ("Roles", ", ".join(data.roles)),
        ("On the log you are", html.Code(data.person)),
        ("Your judgments are signed", html.Code(data.recruiter)),
        *(("Signed in", f"since {words.clock(began)}, until {words.clock(ends)}") for began, ends in data.sessions),
    ]
    held = [
        (each.what.capitalize(), f"{words.count(each.n)}, from {words.clock(each.first)} to {words.clock(each.last)}") for each in data.held
    ]
    return [
        html.Section(
            [
                html.H2("Your account"),
                table(account),
                html.P(html.Button("Sign out everywhere", id="sign-out-everywhere", className="quiet-button", n_clicks=0, type="button")),
            ],
            className="card",
        ),
        html.Section(
            [
                html.H2("What you have done here"),
                table(held) if held else html.P("Nothing yet.", className="hint"),
                html.P(html.A("Download this page's data", href=at("/v1/me"), download="my-data.json"), className="links"),
            ],
            className="card",
        ),
    ]


PAGE = Page("/me", "My data", "me", layout, register, needs="me")
