"""``POST /v1/completions``, the older endpoint: the prompt becomes the user's message of a chat request."""

import itertools
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Discriminator, Field, Tag, TypeAdapter

from access.caller import needs
from serving import responses
from serving.intake_calls import SOURCE_PARAMETER, source_of
from serving.models.backend import Answer, Delta
from serving.openai.bodies import TextChunk, TextCompletion
from serving.openai.exchange import Exchange, Service
from serving.openai.field_names import renamed
from serving.openai.messages import AnyText
from serving.openai.request import ChatRequest, ChatSampled
from serving.openai.streaming import opened, sse, unless_gone
from serving.requests import documented, loaded, read
from storage.events import new_id
from streams.http.errors import ErrorAnswer
from streams.http.fields import WHOLE
from trainers.data.messages import ONE, SEVERAL, one_or_several

NOT_OF_CHAT = ("prompt", "suffix", "echo", "best_of", "logprobs")  # fields that a chat request does not have, or that mean another thing
MAX_LOGPROBS = 5
REASONS = (None, "stop", "length", "content_filter")


class CompletionRequest(ChatSampled):
    """The fields that are read; any others are accepted too."""

    prompt: Annotated[
        Annotated[AnyText, Tag(ONE)] | Annotated[tuple[AnyText, ...], Field(min_length=1, max_length=1), Tag(SEVERAL)],
        Discriminator(one_or_several),
    ]
    echo: bool | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None  # the model continues a conversation: it cannot fill a gap
    best_of: Annotated[int, WHOLE] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS), WHOLE] | None = None


COMPLETION = TypeAdapter(CompletionRequest)

ANSWERS = responses.answered(TextCompletion, responses.REPLY_HEADERS, (TextChunk, ErrorAnswer), "[DONE]")


def router(service: Service) -> APIRouter:
    """The route."""
    api = APIRouter(dependencies=[needs("chat")])

    @api.post("/v1/completions", openapi_extra=documented(COMPLETION, SOURCE_PARAMETER), responses=ANSWERS)
    async def completions(request: Request) -> Response:
        """OpenAI text completion, streamed or not, answered as a chat; one prompt as text."""
        with renamed({"messages": "prompt"}):
            return await answered(request)

    async def answered(request: Request) -> Response:
        raw = await request.body()
        asked = read(COMPLETION, raw)
        prompt = asked.prompt if isinstance(asked.prompt, str) else asked.prompt[0]
        sent = {name: value for name, value in loaded(raw).items() if name not in NOT_OF_CHAT}
        if asked.logprobs is not None:
            sent |= {"logprobs": True, "top_logprobs": asked.logprobs}
        exchange = Exchange(service, ChatRequest.made(sent | {"messages": [{"role": "user", "content": prompt}]}), source_of(request))
        if (asked.best_of or 1) > (exchange.question.n or 1):
            exchange.ignored = sorted([*exchange.ignored, "best_of"])
        body = _Body(prompt if asked.echo else "", service.backend.names()[0])
        if not asked.stream:
            answer, ids = await unless_gone(request, exchange.answer())
            return responses.json(body.complete(answer, ids), headers=exchange.headers | responses.headers(ids))
        first, rest = await opened(request, exchange)
        return StreamingResponse(
            sse(body.chunks(first, rest)), media_type="text/event-stream", headers=exchange.headers | responses.STREAM_HEADERS
        )

    return api


class _Body:
    """The bodies of one response: one object, or chunks that share an id."""

    def __init__(self, echoed: str, model: str) -> None:
        self._echoed, self._model = echoed, model
        self._id, self._created = f"cmpl-{new_id().hex}", int(time.time())

    def complete(self, answer: Answer, ids: Mapping[str, str | None]) -> bytes:
        self._model = answer.version
        choices = [
            self._choice(self._echoed + choice.text, index, choice.finish_reason, choice.logprobs, len(self._echoed))
            for index, choice in enumerate(answer.choices)
        ]
        return orjson.dumps(self._body(choices) | {"usage": dict(answer.usage), "feedbackloop": ids})

    async def chunks(self, first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        """The events; the last is sent once the reply is on the log."""
        item = first
        written: dict[int, int] = {}  # characters of each choice
        while isinstance(item, Delta):
            if text := item.fields.get("content") or "":
                at = written.setdefault(item.index, 0)
                begin = "" if at else self._echoed
                yield responses.event(self._body([self._choice(begin + text, item.index, None, item.logprobs, at + len(begin))]))
                written[item.index] += len(begin + text)
            item = await anext(rest)
        answer, ids = item
        self._model = answer.version
        for index, choice in enumerate(answer.choices):
            more = {"usage": dict(answer.usage), "feedbackloop": ids} if index == len(answer.choices) - 1 else {}
            yield responses.event(self._body([self._choice("", index, choice.finish_reason)]) | more)
        yield responses.DONE

    def _choice(
        self, text: str, index: int, reason: str | None, logprobs: Mapping[str, Any] | None = None, offset: int = 0
    ) -> dict[str, Any]:
        known = reason if reason in REASONS else "stop"
        return {"index": index, "text": text, "logprobs": _older(logprobs, offset), "finish_reason": known}

    def _body(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._id, "object": "text_completion", "created": self._created, "model": self._model, "choices": choices}


def _older(logprobs: Mapping[str, Any] | None, offset: int) -> dict[str, Any] | None:
    """The ``logprobs`` of a chat's choice in the form of this endpoint; the text begins at ``offset``."""
    content = (logprobs or {}).get("content")
    if not content:
        return None
    places = itertools.accumulate((len(each["token"]) for each in content[:-1]), initial=offset)
    return {
        "tokens": [each["token"] for each in content],
        "token_logprobs": [each["logprob"] for each in content],
        "top_logprobs": [{top["token"]: top["logprob"] for top in each.get("top_logprobs") or ()} for each in content],
        "text_offset": list(places),
    }
