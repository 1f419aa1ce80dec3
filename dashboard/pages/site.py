"""The pages as one Dash app on the hub's FastAPI."""

import base64
import hashlib
import logging
import re
from pathlib import Path
from typing import Any, cast

from dash import Dash, ctx
from dash.exceptions import PreventUpdate
from fastapi import FastAPI

from access.permissions import Permission
from access.widget.script import PATH as WIDGET
from dashboard.page_calls import PageCalls, page_caller
from dashboard.pages import shell, table
from dashboard.pages.page import Parts
from storage.tables import by_name

log = logging.getLogger(__name__)


def mount(api: FastAPI, parts: Parts, path_prefix: str = "") -> Dash:
    """Add the pages to ``api``. Its own routes have to be there already: Dash adds a catch-all route.

    Browsers reach the pages under ``path_prefix``, which a reverse proxy strips.
    """
    needed: dict[str, Permission | None] = {}  # by the output of each callback
    api.add_middleware(
        PageCalls, pages=lambda: app, needed=needed
    )  # added first, so that it runs inside Dash's own middleware, which swallows errors
    app: Dash = Dash(
        __name__,
        server=api,  # type: ignore[arg-type]
        routes_pathname_prefix="/",
        requests_pathname_prefix=f"{path_prefix}/",
        assets_folder=str(Path(__file__).parents[1] / "assets"),
        index_string=shell.INDEX,
        external_scripts=[f"{path_prefix}{WIDGET}"],
        title="FeedbackLoop",
        update_title="",
        suppress_callback_exceptions=True,
        compress=False,
        enable_mcp=False,  # it would call callbacks beside PageCalls
        health_endpoint=None,
        on_error=report,
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "description", "content": "Keeps a recruiting chatbot learning from the recruiters who use it."},
        ],
    )
    app.layout = lambda: shell.shell(table.PAGES, page_caller())
    shell.register(app, parts.live, table.PAGES)
    needed |= dict.fromkeys(app.callback_map)
    for page in by_name("page", table.PAGES).values():
        page.register(app, parts)
        needed |= {output: page.needs for output in app.callback_map if output not in needed}
    # At startup, not at the first request: tabs that reconnect after a restart would find no callbacks and stay dead.
    cast(Any, app)._setup_server()
    return app


def content_policy(app: Dash) -> str:
    """The Content-Security-Policy of the pages: their own files, and the inline scripts of Dash and the index page, by hash."""
    own = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in re.findall(r"<script>(.*?)</script>", shell.INDEX, re.DOTALL)
    ]
    scripts = " ".join([*(f"'sha256-{each}'" for each in own), *app.csp_hashes()])
    rules = (
        "default-src 'self'",
        f"script-src 'self' {scripts}",
        "style-src 'self' 'unsafe-inline'",  # Mantine and Plotly write styles into the page
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
    return "; ".join(rules)


def report(error: Exception) -> None:
    """Log an exception of a push callback once: Dash would print it and send its text to the page. ``PageCalls`` handles all others."""
    if ctx.websocket is None:
        raise error
    log.error("a push callback failed", exc_info=error)
    raise PreventUpdate from error
