"""All routes of the chat API, as the app serves and the OpenAPI document lists them."""

from typing import Any

from fastapi import FastAPI

from access.control import AccessControl
from access.widget.minting import token_router
from serving import online_reward
from serving.feedback.routes import feedback_routes
from serving.online_reward import OnlineReward
from serving.openai.exchange import Service
from serving.openai.table import openai_routes
from serving.rerank_routes import rerank_routes
from serving.responses import REFUSALS
from streams.http.errors import DOCUMENTED, answer_errors
from trainers.features.settings import FeatureSettings


def new_app(**options: Any) -> FastAPI:
    """An app without routes."""
    return FastAPI(
        title="FeedbackLoop serving",
        description="Chat as OpenAI's API, and feedback on it.",
        docs_url=None,
        redoc_url=None,
        responses=DOCUMENTED,
        **options,
    )


def add_routes(app: FastAPI, service: Service, reward: OnlineReward, features: FeatureSettings, access: AccessControl) -> None:
    """Add the routes and their error handlers."""
    app.include_router(feedback_routes(service.intake, service.pairing))
    app.include_router(token_router(service.intake, access), prefix="/v1")
    app.include_router(rerank_routes(service.ranker, service.best_of))
    app.include_router(online_reward.router(reward))
    app.include_router(openai_routes(service, features))
    answer_errors(app, REFUSALS)
