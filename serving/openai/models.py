"""``GET /v1/models``: the names that clients may request."""

from typing import Any

from fastapi import APIRouter, Response

from access.caller import needs
from serving import responses
from serving.openai.bodies import ModelItem, ModelList
from serving.openai.embeddings import Embeddings
from serving.openai.exchange import Service
from serving.requests import FieldRefused


def router(service: Service, embeddings: Embeddings) -> APIRouter:
    """The routes."""
    api = APIRouter(dependencies=[needs("chat")])

    def names() -> tuple[str, ...]:
        return (*service.names(), embeddings.name)

    @api.get("/v1/models", responses=responses.answered(ModelList))
    async def list_models() -> Response:
        """List the model names that can be requested."""
        return responses.json({"object": "list", "data": [_model(name) for name in names()]})

    @api.get("/v1/models/{name:path}", responses=responses.answered(ModelItem))
    async def one_model(name: str) -> Response:
        """Get one model name; 404 if it is unknown."""
        if name not in names():
            raise FieldRefused(f"model: {name!r} does not exist", "model", "model_not_found")
        return responses.json(_model(name))

    return api


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "feedbackloop"}
