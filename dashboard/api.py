"""The hub's HTTP API for the command line, products and the pages' scripts. The pages' callbacks use the same service objects.

The routes are in ``dashboard.routes``, a file for each subject. Errors are JSON of one shape, made in ``streams.http.errors``.
"""

from typing import Any

from fastapi import APIRouter, FastAPI

from access.widget.minting import token_router
from dashboard.errors import REFUSALS
from dashboard.routes import chat, erasures, fairness, people, rating, records, reviews, status
from dashboard.routes.parts import Services
from streams.http.errors import DOCUMENTED, NoSuchRoute, answer_errors

SUBJECTS = (status, rating, chat, reviews, records, fairness, people, erasures)


def new_app(**options: Any) -> FastAPI:
    """An app without routes."""
    return FastAPI(
        docs_url=None,
        redoc_url=None,
        title="FeedbackLoop hub",
        description="The hub's API for the command line, products and the dashboard.",
        **options,
    )


def add_routes(app: FastAPI, services: Services) -> None:
    """Add the API and its error handlers to ``app``. Call it before mounting Dash, whose catch-all route would answer with a page."""
    router = APIRouter(prefix="/v1", responses=DOCUMENTED)
    for subject in SUBJECTS:
        router.include_router(subject.routes(services))
    router.include_router(token_router(services.intake, services.access))
    answer_errors(app, REFUSALS)
    app.include_router(router)
    app.router.routes.append(NoSuchRoute("/v1", router.routes))
