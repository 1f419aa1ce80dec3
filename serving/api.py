"""HTTP routes for products: OpenAI-compatible chat completions, models and reranking. Feedback is in ``serving.feedback.routes``.

A reply is on the log before the response is sent, or before the last chunk of a stream. Second responses are generated afterwards by
``pairing``.
"""

import hashlib
import logging
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from serving import reranking, responses
from serving.best_of import best_reply, stream_best
from serving.duel import CurrentDuel
from serving.intake_calls import ClientSource, request_fields, source_of
from serving.models.backend import Answering, Backend, Unavailable
from serving.pairing import Pairing
from serving.requests import CHAT, RERANK, ChatRequest, FieldRefused, documented, read
from serving.reranking import Reranker
from serving.responses import Completion
from storage.errors import FeedbackLoopError
from storage.events import Sampling, derived_id
from streams.client_events import messages
from streams.http.errors import FAILED, SERVER, error_body, refusal
from streams.http.visible_text import one_line
from streams.intake import Intake
from trainers.models.reply import Reply

log = logging.getLogger(__name__)


class Chat:
    """One chat request, from the request body to the event on the log."""

    def __init__(
        self,
        asked: ChatRequest,
        source: ClientSource,
        backend: Backend,
        intake: Intake,
        pairing: Pairing,
        default_tokens: int,
        best_of: int,
    ) -> None:
        self._intake = intake
        self._pairing = pairing
        self._asked = asked
        self._source = source
        with request_fields({"prompt": "messages"}):
            self.prompt = messages([message.plain() for message in asked.messages])
        if asked.model not in backend.names():
            known = ", ".join(backend.names())
            raise FieldRefused(f"model: {asked.model!r} does not exist; choose one of {known}", "model", "model_not_found")
        self.conversation_id = asked.conversation_id or self._derived_conversation()
        training = intake.stratum(self.conversation_id) == "training"
        self.sampling: Sampling = asked.sampling(default_tokens, best_of if training else 1)
        self.completion = Completion(backend.names()[0])

    def _derived_conversation(self) -> str:
        """Id for a conversation without one: a hash of the messages up to the first user message, which stay the same as it grows."""
        first = next((i for i, message in enumerate(self.prompt) if message.role == "user"), len(self.prompt) - 1)
        candidate = "" if self._asked.user is None else self._intake.pseudonym("candidate", self._asked.user)
        opening = "\x1e".join(f"{message.role}\x1f{message.content}" for message in self.prompt[: first + 1])
        digest = hashlib.sha256(opening.encode()).hexdigest()[:32]
        return f"chat-{derived_id('conversation', candidate, f'prompt-{digest}').hex}"

    async def record(self, reply: Reply) -> dict[str, str | None]:
        """Make the reply durable and offer it for pairing; return the ids by which it can be judged."""
        self.completion.model = reply.version
        if not reply.text.strip():
            return responses.extension(self.conversation_id, None, None)
        event = await run_in_threadpool(
            self._intake.reply,
            conversation_id=self.conversation_id,
            prompt=self.prompt,
            reply=reply.text,
            version=reply.version,
            sampling=self.sampling,
            candidate=self._asked.user,
            source=self._source,
        )
        return responses.extension(self.conversation_id, event.event_id, self._pairing.offer(event))

    async def events(self, first: str | Reply, rest: AsyncIterator[str | Reply]) -> AsyncIterator[bytes]:
        """The response as server-sent events; the last chunk is sent once the reply is on the log."""
        yield self.completion.chunk({"role": "assistant", "content": ""})
        try:
            item = first
            while isinstance(item, str):
                yield self.completion.chunk({"content": item})
                item = await anext(rest)
            ids = await self.record(item)
        except FeedbackLoopError as error:
            status, body, _ = refusal(error, responses.REFUSALS)
            log.warning("stream aborted with status %d: %s", status, one_line(str(error)))
            yield responses.event(body)
            return
        except Exception:
            log.exception("stream aborted")
            yield responses.event(error_body(FAILED, SERVER))
            return
        yield self.completion.chunk({}, item.finish_reason, feedbackloop=ids)
        options = self._asked.stream_options
        if options is not None and options.include_usage:
            yield self.completion.usage(item)
        yield b"data: [DONE]\n\n"


def routes(
    backend: Backend,
    intake: Intake,
    pairing: Pairing,
    default_tokens: int,
    duel: CurrentDuel | None = None,
    ranker: Reranker | None = None,
    best_of: int = 1,
) -> APIRouter:
    """Build the router."""
    current = duel or CurrentDuel()
    ranking = ranker or Reranker(None)
    router = APIRouter()

    @router.post("/v1/chat/completions", openapi_extra=documented(CHAT))
    async def chat_completions(request: Request) -> Response:
        """OpenAI chat completion, streamed or not; the field ``feedbackloop`` holds the ids by which the reply can be judged."""
        asked = read(CHAT, await request.body())
        chat = Chat(asked, source_of(request), backend, intake, pairing, default_tokens, best_of if ranking.refusal is None else 1)
        canary = current.answering(chat.conversation_id)
        if asked.stream:
            first, rest = await _first_of(canary, backend, chat, ranking)
            ids = responses.extension(chat.conversation_id, None, None)
            headers = {"X-Accel-Buffering": "no"} | responses.headers(ids)
            return StreamingResponse(chat.events(first, rest), media_type="text/event-stream", headers=headers)
        try:
            reply = await best_reply(canary or backend, ranking, chat.prompt, chat.sampling)
        except Unavailable:  # the canary has just ended
            reply = await best_reply(backend, ranking, chat.prompt, chat.sampling)
        ids = await chat.record(reply)
        return responses.json(chat.completion.complete(reply, ids), headers=responses.headers(ids))

    @router.get("/v1/models")
    async def list_models() -> Response:
        """List the model names that can be requested."""
        return responses.json(responses.models(backend.names()))

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        """Get one model name; 404 if it is unknown."""
        if name not in backend.names():
            raise FieldRefused(f"model: {name!r} does not exist", "model", "model_not_found")
        return responses.json(responses.models((name,))["data"][0])

    @router.get("/v1/rerank")
    async def reranker() -> Response:
        """Which kind of reward model ranks and how many replies are drawn for each answer, or why none ranks."""
        return responses.json({**ranking.state(), "best_of": best_of})

    @router.post("/v1/rerank", openapi_extra=documented(RERANK))
    async def rerank(request: Request) -> Response:
        """Rank documents as replies to a query by the reward model, the best first, in the shape of Cohere's and Jina's endpoints."""
        asked = read(RERANK, await request.body())
        if asked.model != reranking.MODEL:
            raise FieldRefused(
                f"model: {asked.model!r} does not exist; the reward model is {reranking.MODEL!r}", "model", "model_not_found"
            )
        ranked = await run_in_threadpool(ranking.rank, asked.query, asked.texts, asked.top_n)
        return responses.json(reranking.body_of(ranked, asked.texts, bool(asked.return_documents)))

    return router


async def _first_of(
    canary: Answering | None, backend: Backend, chat: Chat, ranker: Reranker
) -> tuple[str | Reply, AsyncIterator[str | Reply]]:
    """The stream's first piece and the rest; an error before the first piece still sets the HTTP status."""
    if canary is not None:
        try:
            rest = stream_best(canary, ranker, chat.prompt, chat.sampling)
            return await anext(rest), rest
        except Unavailable:  # the canary has just ended
            pass
    rest = stream_best(backend, ranker, chat.prompt, chat.sampling)
    return await anext(rest), rest
