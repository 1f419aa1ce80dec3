"""``POST /v1/embeddings``: the sentence encoder that the reward model reads replies with."""

import base64
import threading
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter
from starlette.concurrency import run_in_threadpool

from access.caller import needs
from serving import responses
from serving.models.backend import token_counts
from serving.openai.bodies import EmbeddingList
from serving.openai.messages import AnyText
from serving.requests import FieldRefused, documented, read
from storage.errors import InputRefused
from streams.http.fields import WHOLE, GivenName
from trainers.data.messages import ONE, SEVERAL, one_or_several
from trainers.features.settings import FeatureSettings

if TYPE_CHECKING:
    from trainers.features.encoder import Encoder

MAX_TEXTS = 256


class EmbeddingRequest(BaseModel):
    """The body; other fields are accepted and ignored."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, hide_input_in_errors=True)

    model: Annotated[GivenName, Field(examples=["all-MiniLM-L6-v2"])]
    input: Annotated[
        Annotated[AnyText, Tag(ONE)] | Annotated[tuple[AnyText, ...], Field(min_length=1, max_length=MAX_TEXTS), Tag(SEVERAL)],
        Discriminator(one_or_several),
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, WHOLE] | None = None


EMBEDDING = TypeAdapter(EmbeddingRequest)


class Embeddings:
    """The encoder of the section ``[features]``, loaded by the first request."""

    name = "all-MiniLM-L6-v2"

    def __init__(self, settings: FeatureSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()  # one request at a time: each uses the threads it may have
        self._encoder: Encoder | None = None

    def of(self, texts: list[str]) -> tuple[np.ndarray, int]:
        """Unit vectors, ``(n, width)`` as float32, and the number of tokens; a text that is too long is cut."""
        from trainers.features.encoder import Encoder, shipped_folder

        with self._lock:
            if self._encoder is None:
                self._encoder = Encoder(self._settings.encoder or shipped_folder(), self._settings.arithmetic)
            room = self._encoder.limit - 2
            sequences = [self._encoder.sequence(self._encoder.tokens(text)[:room]) for text in texts]
            return self._encoder.encode(sequences), sum(map(len, sequences))


def router(embeddings: Embeddings) -> APIRouter:
    """The route."""
    api = APIRouter(dependencies=[needs("chat")])

    @api.post("/v1/embeddings", openapi_extra=documented(EMBEDDING), responses=responses.answered(EmbeddingList))
    async def embed(request: Request) -> Response:
        """Embed texts; token ids are not accepted, since they are those of another model's tokenizer."""
        asked = read(EMBEDDING, await request.body())
        if asked.model not in (embeddings.name, "embedding"):
            raise FieldRefused(
                f"model: {asked.model!r} does not exist; choose {embeddings.name!r} or 'embedding'", "model", "model_not_found"
            )
        texts = [asked.input] if isinstance(asked.input, str) else list(asked.input)
        if not all(text.strip() for text in texts):
            raise InputRefused("input: an empty text has no embedding", "input")
        vectors, tokens = await run_in_threadpool(embeddings.of, texts)
        if asked.dimensions not in (None, vectors.shape[1]):
            raise InputRefused(f"dimensions: this model's embeddings have {vectors.shape[1]}; leave it out", "dimensions")
        encoded: list[Any] = (
            [base64.b64encode(vector.tobytes()).decode() for vector in vectors] if asked.encoding_format == "base64" else vectors.tolist()
        )
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(encoded)]
        usage = {name: count for name, count in token_counts(tokens, 0).items() if name != "completion_tokens"}
        return responses.json({"object": "list", "data": data, "model": embeddings.name, "usage": usage})

    return api
