"""``POST /v1/chat/completions``."""

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from access.caller import needs
from serving import responses
from serving.intake_calls import SOURCE_PARAMETER, source_of
from serving.models.backend import Answer, Choice, Delta
from serving.openai.bodies import ChatChunk, ChatCompletion
from serving.openai.exchange import Exchange, Service
from serving.openai.request import CHAT, ChatRequest
from serving.openai.streaming import opened, sse, unless_gone
from serving.requests import documented
from storage.events import new_id
from streams.http.errors import ErrorAnswer

log = logging.getLogger(__name__)

ANSWERS = responses.answered(ChatCompletion, responses.REPLY_HEADERS, (ChatChunk, ErrorAnswer), "[DONE]")


def router(service: Service) -> APIRouter:
    """The route."""
    api = APIRouter(dependencies=[needs("chat")])

    @api.post("/v1/chat/completions", openapi_extra=documented(CHAT, SOURCE_PARAMETER), responses=ANSWERS)
    async def chat_completions(request: Request) -> Response:
        """OpenAI chat completion, streamed or not; the field ``feedbackloop`` holds the ids by which the reply can be judged."""
        asked = ChatRequest.parsed(await request.body())
        exchange = Exchange(service, asked, source_of(request))
        body = _Body(service.backend.names()[0])
        if not asked.stream:
            answer, ids = await unless_gone(request, exchange.answer())
            return responses.json(body.complete(answer, ids), headers=exchange.headers | responses.headers(ids))
        first, rest = await opened(request, exchange)
        usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
        return StreamingResponse(
            sse(body.chunks(first, rest, usage)), media_type="text/event-stream", headers=exchange.headers | responses.STREAM_HEADERS
        )

    return api


class _Body:
    """The bodies of one response: one object, or chunks that share an id."""

    def __init__(self, model: str) -> None:
        self._model = model  # the version serving now, until the answer names the one that wrote it
        self._id = f"chatcmpl-{new_id().hex}"
        self._created = int(time.time())

    def complete(self, answer: Answer, ids: dict[str, str | None]) -> bytes:
        self._model = answer.version
        choices = [
            {"index": index, "message": choice.message, "logprobs": choice.logprobs, "finish_reason": choice.finish_reason}
            for index, choice in enumerate(answer.choices)
        ]
        return orjson.dumps(self._body("chat.completion", choices) | dict(answer.more) | {"usage": _usage(answer), "feedbackloop": ids})

    async def chunks(self, first: Any, rest: AsyncIterator[Any], usage: bool) -> AsyncIterator[bytes]:
        """The events; the last chunk of the choices is sent once the reply is on the log."""
        item = first
        while isinstance(item, Delta):
            yield self._chunk(item.fields, item.index, None, item.logprobs)
            item = await anext(rest)
        answer, ids = item
        self._model = answer.version
        for index, choice in enumerate(answer.choices):
            yield self._last(choice, index, {"feedbackloop": ids} if index == len(answer.choices) - 1 else {})
        if usage:
            yield responses.event(self._body("chat.completion.chunk", []) | {"usage": _usage(answer)})
        yield responses.DONE

    def _last(self, choice: Choice, index: int, more: dict[str, Any]) -> bytes:
        return self._chunk({}, index, choice.finish_reason, None, **more)

    def _chunk(self, delta: Any, index: int, reason: str | None, logprobs: Any, **more: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return responses.event(self._body("chat.completion.chunk", [choice]) | more)

    def _body(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}


def _usage(answer: Answer) -> dict[str, Any]:
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0} | dict(answer.usage)
