"""Conversations of the page Chat."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field

from access.caller import needs
from dashboard.actions.chat import ServedModel, TwoReplies
from dashboard.routes.parts import Body, Services
from storage.events import Text
from streams.http.fields import GivenName


class Turn(Body):
    role: Literal["system", "user", "assistant"]
    content: Text


class ChatBody(Body):
    model: GivenName
    messages: Annotated[list[Turn], Field(min_length=1, max_length=200)]


def routes(services: Services) -> APIRouter:
    router = APIRouter(dependencies=[needs("feedback")])

    @router.get("/chat/models")
    def chat_models() -> dict[str, list[ServedModel]]:
        """The versions that answer candidates now, and what they are."""
        return {"models": services.chat.models()}

    @router.post("/chat")
    def chat(body: ChatBody) -> TwoReplies:
        """Two replies of a served version; they are logged, and judged as a pair by ``/v1/judgments``."""
        return services.chat.ask(body.model, [turn.model_dump() for turn in body.messages])

    return router
