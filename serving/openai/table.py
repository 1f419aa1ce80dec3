"""The endpoints of OpenAI's API. A new one is a file and a line here."""

from fastapi import APIRouter

from serving.openai import chat, completions, embeddings, models, responses_api
from serving.openai.embeddings import Embeddings
from serving.openai.exchange import Service
from trainers.features.settings import FeatureSettings


def openai_routes(service: Service, features: FeatureSettings) -> APIRouter:
    """All of them."""
    encoder = Embeddings(features)
    api = APIRouter()
    for router in (
        chat.router(service),
        completions.router(service),
        responses_api.router(service),
        embeddings.router(encoder),
        models.router(service, encoder),
    ):
        api.include_router(router)
    return api
