"""The pages as one Dash app on the hub's FastAPI."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from dash import Dash
from fastapi import FastAPI

from dashboard.live import Live
from dashboard.pages import overview, promotions, rate, runs, shell
from dashboard.reports import ShownReport
from dashboard.reviews import Reviews

log = logging.getLogger(__name__)

PAGES = (
    shell.Page("/", "Overview", "overview", overview.layout),
    shell.Page("/rate", "Rate", "rate", rate.layout),
    shell.Page("/runs", "Runs", "runs", runs.layout),
    shell.Page("/promotions", "Promotions", "promotions", promotions.layout),
)


def mount(api: FastAPI, live: Live, reviews: Reviews, report_of: Callable[[str], ShownReport]) -> Dash:
    """Add the pages to ``api``, whose own routes have to be there already: Dash's catch-all comes last.

    Parameters
    ----------
    report_of : the evaluation's report on a version of that name
    """
    app = Dash(
        __name__,
        server=api,  # type: ignore[arg-type]
        assets_folder=str(Path(__file__).parents[1] / "assets"),
        index_string=shell.INDEX,
        title="FeedbackLoop",
        update_title="",
        suppress_callback_exceptions=True,
        compress=False,
        on_error=report,
        meta_tags=[
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "description", "content": "Keeps a recruiting chatbot learning from the recruiters who use it."},
        ],
    )
    app.layout = shell.shell(PAGES)
    shell.register(app, live, PAGES)
    overview.register(app)
    rate.register(app)
    runs.register(app)
    promotions.register(app, reviews, report_of)
    # Now and not at the first request: tabs that reconnect after a restart would find no callbacks and stay dead.
    cast(Any, app)._setup_server()
    return app


def report(error: Exception) -> None:
    """Log what a page's callback raised, which Dash would answer with a silent 500."""
    log.error("a page's callback failed", exc_info=error)
    raise error
