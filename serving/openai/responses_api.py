"""``POST /v1/responses``, stateless: answered as a chat, with the objects and stream events of OpenAI's Responses API."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from access.caller import caller_of, needs
from serving import responses
from serving.intake_calls import SOURCE_PARAMETER, source_of
from serving.models.backend import Answer, Choice, Delta
from serving.openai.bodies import ResponseEvent, ResponseObject
from serving.openai.exchange import Exchange, Service
from serving.openai.field_names import renamed
from serving.openai.recent_items import CallersItems, RecentItems
from serving.openai.responses_request import OF_CHAT, RESPONSES, as_chat, without_effect
from serving.openai.streaming import opened, sse, unless_gone
from serving.requests import documented
from storage.events import new_id

ECHOED: dict[str, Any] = {  # fields of the request that the response repeats, with what they are if the client left them out
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": None,
    "top_p": None,
    "tool_choice": "auto",
    "tools": [],
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "user": None,
    "reasoning": {"effort": None, "summary": None},
}

INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}  # by a choice's reason to end

ANSWERS = responses.answered(ResponseObject, responses.REPLY_HEADERS, (ResponseEvent,))


def router(service: Service) -> APIRouter:
    """The route."""
    api = APIRouter(dependencies=[needs("chat")])
    recent = RecentItems()

    @api.post("/v1/responses", openapi_extra=documented(RESPONSES, SOURCE_PARAMETER), responses=ANSWERS)
    async def create_response(request: Request) -> Response:
        """OpenAI response, streamed or not, of a conversation that the client sends whole; nothing is kept under its id."""
        with renamed(OF_CHAT):
            return await answered(request)

    async def answered(request: Request) -> Response:
        own = recent.of(caller_of(request).name)
        asked, sent, chat = as_chat(await request.body(), own)
        exchange = Exchange(service, chat, source_of(request))
        exchange.ignored = sorted({*exchange.ignored, *without_effect(asked, sent)})
        body = _Body(sent, service.backend.names()[0], RecentItems().of("") if chat.store is False else own)
        if not asked.stream:
            answer, ids = await unless_gone(request, exchange.answer())
            return responses.json(orjson.dumps(body.complete(answer, ids)), headers=exchange.headers | responses.headers(ids))
        first, rest = await opened(request, exchange)
        events = sse(body.events(first, rest), body.error)
        return StreamingResponse(events, media_type="text/event-stream", headers=exchange.headers | responses.STREAM_HEADERS)

    return api


class _Body:
    """The bodies of one response: one object, or numbered events."""

    def __init__(self, sent: Mapping[str, Any], model: str, recent: CallersItems) -> None:
        self._model, self._recent = model, recent
        self._echoed = {name: value if sent.get(name) is None else sent[name] for name, value in ECHOED.items()}
        self._id, self._created = f"resp_{new_id().hex}", int(time.time())
        self._sequence = 0
        self._message_id: str | None = None
        self._text = ""
        self._logprobs: list[Mapping[str, Any]] = []
        self._calls: list[dict[str, Any]] = []
        self._places: dict[int, int] = {}  # a call's number by the index that the model gave it
        self._order: list[Any] = []  # items in the order in which they began: None for the message, or a call's number

    def complete(self, answer: Answer, ids: Mapping[str, str | None]) -> dict[str, Any]:
        """The response object of a whole answer."""
        choice = answer.choices[0]
        self._model = answer.version
        self._text, self._logprobs = choice.text, _logprobs(choice.logprobs)
        if choice.text:
            self._begin_message()
        for call in choice.more.get("tool_calls") or ():
            self._begin_call(call)
        return self._finished(answer, choice, ids)

    async def events(self, first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        """The events; the last is sent once the reply is on the log."""
        yield self._event("response.created", response=self._object("in_progress"))
        yield self._event("response.in_progress", response=self._object("in_progress"))
        item = first
        while isinstance(item, Delta):
            for event in self._delta(item):
                yield event
            item = await anext(rest)
        answer, ids = item
        self._model = answer.version
        for event in self._closing("incomplete" if answer.choices[0].finish_reason in INCOMPLETE else "completed"):
            yield event
        body = self._finished(answer, answer.choices[0], ids)
        yield self._event(f"response.{body['status']}", response=body)

    def error(self, body: Mapping[str, Any]) -> bytes:
        """The event of a failure."""
        error = body["error"]
        return self._event("error", code=error["code"], message=error["message"], param=error["param"])

    def _delta(self, item: Delta) -> list[bytes]:
        events, fields = [], item.fields
        if text := fields.get("content"):
            if self._message_id is None:
                place = self._begin_message()
                begun = self._message("in_progress") | {"content": []}
                events.append(self._event("response.output_item.added", output_index=place, item=begun))
                events.append(self._event("response.content_part.added", **self._of_part(), part=_part("", ())))
            self._text += text
            logprobs = _logprobs(item.logprobs)
            self._logprobs += logprobs
            events.append(self._event("response.output_text.delta", **self._of_part(), delta=text, logprobs=_without_bytes(logprobs)))
        for call in fields.get("tool_calls") or ():
            function = call.get("function") or {}
            number = self._places.setdefault(call.get("index") or 0, len(self._calls))
            if number == len(self._calls):
                place = self._begin_call({**call, "function": {"name": function.get("name"), "arguments": ""}})
                events.append(self._event("response.output_item.added", output_index=place, item=self._call(-1, "in_progress")))
            if part := function.get("arguments"):
                self._calls[number]["arguments"] += part
                where = {"item_id": self._calls[number]["id"], "output_index": self._order.index(number)}
                events.append(self._event("response.function_call_arguments.delta", **where, delta=part))
        return events

    def _closing(self, status: str) -> list[bytes]:
        events = []
        for place, each in enumerate(self._order):
            if each is None:
                logprobs = _without_bytes(self._logprobs)
                events.append(self._event("response.output_text.done", **self._of_part(), text=self._text, logprobs=logprobs))
                events.append(self._event("response.content_part.done", **self._of_part(), part=self._part()))
                events.append(self._event("response.output_item.done", output_index=place, item=self._message(status)))
            else:
                item = self._call(each, status)
                where = {"item_id": item["id"], "output_index": place}
                events.append(self._event("response.function_call_arguments.done", **where, arguments=item["arguments"]))
                events.append(self._event("response.output_item.done", output_index=place, item=item))
        return events

    def _begin_message(self) -> int:
        self._message_id = f"msg_{new_id().hex}"
        self._order.append(None)
        return len(self._order) - 1

    def _begin_call(self, call: Mapping[str, Any]) -> int:
        function = call.get("function") or {}
        self._calls.append(
            {
                "id": f"fc_{new_id().hex}",
                "call_id": str(call.get("id") or ""),
                "name": str(function.get("name") or ""),
                "arguments": str(function.get("arguments") or ""),
            }
        )
        self._order.append(len(self._calls) - 1)
        return len(self._order) - 1

    def _of_part(self) -> dict[str, Any]:
        return {"item_id": self._message_id, "output_index": self._order.index(None), "content_index": 0}

    def _message(self, status: str) -> dict[str, Any]:
        return {"id": self._message_id, "type": "message", "role": "assistant", "status": status, "content": [self._part()]}

    def _part(self) -> dict[str, Any]:
        return _part(self._text, self._logprobs)

    def _call(self, number: int, status: str) -> dict[str, Any]:
        return {"type": "function_call", "status": status, **self._calls[number]}

    def _finished(self, answer: Answer, choice: Choice, ids: Mapping[str, str | None]) -> dict[str, Any]:
        reason = INCOMPLETE.get(choice.finish_reason)
        body = self._object("incomplete" if reason else "completed")
        status = body["status"]
        body["output"] = [self._message(status) if each is None else self._call(each, status) for each in self._order]
        self._recent.keep(body["output"])
        if reason:
            body["incomplete_details"] = {"reason": reason}
        given, written = answer.usage.get("prompt_tokens", 0), answer.usage.get("completion_tokens", 0)
        cached = answer.usage.get("prompt_tokens_details", {}).get("cached_tokens") or 0
        thought = answer.usage.get("completion_tokens_details", {}).get("reasoning_tokens") or 0
        body["usage"] = {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": given + written,
        }
        return body | {"feedbackloop": ids}

    def _object(self, status: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self._model,
            "output": [],
            "error": None,
            "incomplete_details": None,
            "previous_response_id": None,
            "usage": None,
            **self._echoed,
        }

    def _event(self, kind: str, **fields: Any) -> bytes:
        body = orjson.dumps({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"


def _part(text: str, logprobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _logprobs(of_chat: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The log-probabilities of a chat's choice; here each token has bytes."""
    return [
        _with_bytes(each) | {"top_logprobs": [_with_bytes(top) for top in each.get("top_logprobs") or ()]}
        for each in (of_chat or {}).get("content") or ()
    ]


def _without_bytes(logprobs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same in the form of events."""

    def plain(token: Mapping[str, Any]) -> dict[str, Any]:
        return {"token": token["token"], "logprob": token["logprob"]}

    return [plain(each) | {"top_logprobs": [plain(top) for top in each["top_logprobs"]]} for each in logprobs]


def _with_bytes(token: Mapping[str, Any]) -> dict[str, Any]:
    return {**token, "bytes": token.get("bytes") or list(token["token"].encode())}
