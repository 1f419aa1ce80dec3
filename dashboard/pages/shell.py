"""The frame around every page: navigation, connection state, theme, and the stores that pushes arrive in."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, Input, Output, State, ctx, dcc, html, set_props, strip_relative_path
from pydantic import validate_call

from access.caller import Caller
from dashboard.page_calls import page_caller
from dashboard.pages.markup import aria, at, in_browser
from dashboard.pages.page import Page
from dashboard.pages.words import isolated
from dashboard.status.feed import ReadingFeed
from dashboard.status.models import Reading, Status

PUSH_INTERVAL = 0.25  # minimum seconds between two pushes to a page: each one redraws it

NOT_ALLOWED = "Ask whoever administers this installation for the permission."

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<meta name="color-scheme" content="light dark">
<title>{%title%}</title>
<script>
(function () {
  var saved = localStorage.getItem("mantine-color-scheme-value") || "auto";
  var dark = saved === "dark" || (saved === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.setAttribute("data-mantine-color-scheme", dark ? "dark" : "light");
})();
</script>
{%favicon%}
{%css%}
</head>
<body>
{%app_entry%}
<footer>{%config%}{%scripts%}{%renderer%}</footer>
</body>
</html>"""


def shell(pages: tuple[Page, ...], caller: Caller) -> Any:
    """The frame around the pages, with links to those that the caller may see."""
    links = [
        dcc.Link(
            [
                html.Span(className=f"icon icon-{page.icon}"),
                html.Span(page.name),
                html.Span(id=f"nav-count-{page.icon}", className="nav-count"),
            ],
            href=at(page.path),
            id=f"nav-{page.icon}",
            className="nav-link",
            style={} if caller.may(page.needs) else {"display": "none"},
        )
        for page in pages
    ]
    foot = html.Div(
        [
            html.Div(
                [
                    html.Span(isolated(caller.display_name), id="signed-in-name"),
                    html.Button("Sign out", id="sign-out", className="quiet-button", n_clicks=0, type="button"),
                ],
                className="signed-in" if caller.person else "hidden",
            ),
            html.Div(
                [html.Span(className="live-dot"), html.Span("Connecting", id="live-word")],
                id="live-line",
                className="live-line",
                role="status",
            ),
            dmc.ColorSchemeToggle(
                id="theme",
                variant="subtle",
                color="gray",
                size="lg",
                lightIcon=html.Span(className="icon icon-sun"),
                darkIcon=html.Span(className="icon icon-moon"),
                **aria(label="Switch between light and dark"),
            ),
        ],
        className="side-foot",
    )
    brand = dcc.Link([html.Span(className="brand-mark"), html.Span("FeedbackLoop")], href=at("/"), className="brand")
    return dmc.MantineProvider(
        [
            dcc.Location(id="address"),
            dcc.Store(id="pages", data=[{"path": at(page.path), "name": page.name, "icon": page.icon} for page in pages]),
            dcc.Store(id="live-status"),
            dcc.Store(id="live-curve"),
            dcc.Store(id="live-runs"),
            dcc.Store(id="live-versions"),
            dcc.Store(id="live-duel"),
            dcc.Store(id="live-beat"),
            dcc.Interval(id="fallback", interval=5_000),
            html.A("Skip to the content", href="#page", className="skip-link"),
            html.Div(
                [
                    html.Aside([brand, html.Nav(links, className="nav", **aria(label="Pages")), foot], className="side"),
                    html.Main(id="page", className="page", tabIndex="-1"),
                ],
                className="frame",
            ),
        ],
        defaultColorScheme="auto",
        theme={
            "primaryColor": "indigo",
            "primaryShade": 8,
            "defaultRadius": "md",
            "fontFamily": "Inter, ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
        },
    )


def heading(title: Any, lead: Any) -> Any:
    """A page's title, a sentence on its state, and the badge for simulated data."""
    return html.Header(
        [
            html.Div([html.H1(title), html.Span(className="badge badge-simulated hidden", id="simulated")], className="title-line"),
            html.P(lead, className="lead"),
        ],
        className="page-head",
    )


def empty(title: str, text: Any, icon: str = "loop") -> Any:
    """An empty state: what is missing, and what to do next."""
    return html.Div([html.Span(className=f"icon icon-{icon}"), html.H3(title), html.P(text)], className="empty")


def table(rows: Sequence[tuple[str, Any]]) -> Any:
    """Names and values, one a line, the values aligned."""
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in rows], className="facts")


def store_data(reading: Reading) -> dict[str, Any]:
    """The reading's data for each store, by store id."""
    return {
        "live-status": reading.status.model_dump(mode="json"),
        "live-curve": [point.model_dump(mode="json") for point in reading.curve],
        "live-runs": [run.model_dump(mode="json") for run in reading.runs],
        "live-versions": reading.versions.model_dump(mode="json"),
        "live-duel": reading.duel.model_dump(mode="json") if reading.duel is not None else None,
    }


def register(app: Dash, live: ReadingFeed, pages: tuple[Page, ...]) -> None:
    """Register routing, the push channel and the frame's callbacks."""
    routes: Mapping[str, Page] = {page.path: page for page in sorted(pages, key=lambda page: len(page.path))}

    @app.callback(Output("page", "children"), Input("address", "pathname"))
    @validate_call
    def show(path: str | None) -> Any:
        seen = [page for page in pages if page_caller().may(page.needs)]
        path = "/" + strip_relative_path(path or "/")  # type: ignore[no-untyped-call]
        for start in sorted(routes, key=len, reverse=True):
            if path == start or (start != "/" and path.startswith(start + "/")):
                if not page_caller().may(routes[start].needs):
                    if start == "/" and seen:  # the address that everybody starts at
                        return seen[0].layout("")
                    return [heading(routes[start].name, "You may not see this page."), empty("Not for you", NOT_ALLOWED)]
                return routes[start].layout(path.removeprefix(start).strip("/"))
        return [
            heading("Nothing here", "No page has this address."),
            empty("Page not found", dcc.Link("Back to the overview", href=at("/"))),
        ]

    @app.callback(persistent=True, websocket=True)
    async def push() -> None:
        socket, caller = ctx.websocket, page_caller()
        sent: dict[str, Any] = {}
        async for reading in live.watch():
            if socket is None or socket.is_shutdown:
                return
            if reading is not None and caller.may("read"):
                for store, data in store_data(reading).items():
                    if sent.get(store) != data:
                        set_props(store, {"data": data})
                        sent[store] = data
            set_props("live-beat", {"data": {"pushed": True}})
            await asyncio.sleep(PUSH_INTERVAL)

    in_browser(
        app,
        "shell.beat",
        Output("live-line", "className"),
        Output("live-word", "children"),
        Input("live-beat", "data"),
        Input("fallback", "n_intervals"),
    )
    in_browser(app, "shell.signOut", Output("sign-out", "disabled"), Input("sign-out", "n_clicks"), at_start=False)
    in_browser(
        app,
        "shell.fallback",
        Output("live-beat", "data", allow_duplicate=True),
        Input("fallback", "n_intervals"),
        at_start=False,
    )
    in_browser(
        app,
        "shell.where",
        *[Output(f"nav-{page.icon}", "className") for page in pages],
        Input("address", "pathname"),
        State("pages", "data"),
    )
    in_browser(
        app,
        "shell.counts",
        *[Output(f"nav-count-{page.icon}", "children") for page in pages],
        Input("live-status", "data"),
        Input("live-runs", "data"),
        State("pages", "data"),
    )
    in_browser(
        app,
        "shell.simulated",
        Output("simulated", "children"),
        Output("simulated", "className"),
        Input("live-status", "data"),
        Input("page", "children"),
    )


def status_of(data: Mapping[str, Any] | None) -> Status | None:
    """The status in its store; None before the first push."""
    return Status.model_validate(data) if data else None


def table_card(title: str, names: Sequence[str], rows: Sequence[Sequence[Any]], said: str = "") -> Any:
    """A card with a table whose columns have these names, under a sentence."""
    head = html.Thead(html.Tr([html.Th(name, scope="col") for name in names]))
    body = html.Tbody([html.Tr([html.Td(each) for each in row]) for row in rows])
    hint = [html.P(said, className="hint")] if said else []
    framed = html.Div(html.Table([head, body], className="table"), className="scroll")
    return html.Section([html.H2(title), *hint, framed], className="card")
