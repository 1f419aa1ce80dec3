"""What the online reward head thinks of replies: their rewards, and how sure it is of them."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from access.caller import needs
from serving import responses
from serving.feedback.kind import Shape
from serving.requests import documented, read
from serving.reranking import MayNotRank
from storage.events import Message, Text
from trainers.data.messages import ChatMessages
from trainers.features.embedding import Embedding
from trainers.features.settings import FeatureSettings
from trainers.reward.online.head import Head
from trainers.reward.online.settings import OVERALL

MAX_RESPONSES = 16


class RewardRequest(Shape):
    """The body of ``POST /v1/reward``: replies to one prompt."""

    messages: ChatMessages
    responses: Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_RESPONSES)]


REWARD = TypeAdapter(RewardRequest)


class ReplyReward(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: float
    deviation: float


class Rewards(BaseModel):
    """The body of the answer; ``first_is_better`` is the probability that the first reply is better than the second."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rewards: list[ReplyReward]
    judgments: int
    first_is_better: float | None


@dataclass(frozen=True)
class Posterior:
    """The head's belief about replies to one prompt: the mean of their rewards, ``(n,)``, and the covariance, ``(n, n)``, in logits."""

    mean: np.ndarray
    covariance: np.ndarray
    judgments: int

    def first_is_better(self) -> float:
        """The probability that the first reply's reward is higher than the second's."""
        variance = self.covariance[0, 0] + self.covariance[1, 1] - 2 * self.covariance[0, 1]
        return 0.5 * (1 + math.erf(float(self.mean[0] - self.mean[1]) / math.sqrt(2 * max(float(variance), 1e-12))))


class OnlineReward:
    """The newest head that ``head`` returns, with the embedding of ``features``, which the first use loads."""

    def __init__(self, head: Callable[[], Head | None], features: FeatureSettings) -> None:
        self._head, self._settings = head, features
        self._lock = threading.Lock()
        self._embedding: Embedding | None = None

    def posterior(self, prompt: Sequence[Message], texts: Sequence[str]) -> Posterior | None:
        """The belief about these replies; None before the first judgment, or if the head has another embedding."""
        head = self._head()
        if head is None or not head.judgments_seen:
            return None
        with self._lock:
            if self._embedding is None:
                from trainers.features.embedder import Embedder

                self._embedding = Embedder.load(self._settings)
            if self._embedding.hash != head.embedding_hash:
                return None
            features = self._embedding.features([(tuple(prompt), text) for text in texts]).astype(float)
        taste = head.tastes[OVERALL]
        lower = np.tril(taste.covariance[:-1, :-1])
        return Posterior(features @ taste.weights, features @ (lower + np.tril(lower, -1).T) @ features.T, head.judgments_seen)


def router(reward: OnlineReward) -> APIRouter:
    """The route."""
    api = APIRouter(dependencies=[needs("chat")])

    @api.post("/v1/reward", openapi_extra=documented(REWARD), responses=responses.answered(Rewards))
    async def rewards(request: Request) -> Response:
        """The rewards of replies to one prompt by the online head, in logits, each with its standard deviation."""
        asked = read(REWARD, await request.body())
        found = await run_in_threadpool(reward.posterior, [message.plain() for message in asked.messages], asked.responses)
        if found is None:
            raise MayNotRank("the reward model has not learnt from a judgment yet")
        deviations = np.sqrt(np.maximum(found.covariance.diagonal(), 0.0))
        body = {
            "rewards": [{"reward": float(mean), "deviation": float(sd)} for mean, sd in zip(found.mean, deviations, strict=True)],
            "judgments": found.judgments,
            "first_is_better": found.first_is_better() if len(asked.responses) > 1 else None,
        }
        return responses.json(body)

    return api
