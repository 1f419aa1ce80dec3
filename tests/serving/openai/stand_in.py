"""A stand-in for upstream servers, with the habits that they have in the field.

It speaks OpenAI's protocol at ``/v1/chat/completions`` and at Azure's address, and Anthropic's at ``/v1/messages``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from serving.responses import event
from tests.serving.conftest import run_app

KEY = "sk-very-secret-0123456789"
ASKED = [{"role": "user", "content": "when is the interview ?"}]
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
SCHEMA_TEXT = '{"day": "Monday", "hour": 9}'
REFUSALS = {"refuse": 400, "unauthorized": 401, "busy": 429, "broken": 500}
CALL = {"id": "call_1", "type": "function", "function": {"name": "calendar", "arguments": '{"day": "Monday"}'}}


@dataclass
class StandIn:
    """An upstream that answers by its habits and records its requests.

    Attributes
    ----------
    mode : how it fails: a key of ``REFUSALS``, "wrong JSON", "a page", "silent", "breaks off", "breaks off whole"; or "well"
    habits : "list content", "heartbeats", "no finish reason", "no usage", "U+2028", "places of calls", "error with 200"
    failures : requests that are answered with 500 before it answers well
    accepted : fields that it accepts; None for all, as current models refuse ``max_tokens`` and ``temperature``
    """

    url: str = ""
    mode: str = "well"
    habits: frozenset[str] = frozenset()
    failures: int = 0
    accepted: frozenset[str] | None = None
    said: list[str] = field(default_factory=lambda: ["On ", "Monday", "."])
    asked: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)  # of the connections that the requests came on
    left: int = 0  # streams that their client has left

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        @app.post("/openai/deployments/{_deployment}/chat/completions")
        async def chat(request: Request, _deployment: str = "") -> Response:
            return await self._answered(request, self._chat, self._chat_stream)

        @app.post("/v1/messages")
        async def messages(request: Request) -> Response:
            return await self._answered(request, self._message, self._message_stream)

        return app

    async def _answered(self, request: Request, whole: Any, stream: Any) -> Response:
        body = await request.json()
        self.asked.append(body)
        self.headers.append(request.headers)
        self.ports.append(request.client.port if request.client else 0)
        self.paths.append(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        if self.accepted is not None and (unknown := set(body) - self.accepted):
            name = min(unknown)
            error = {"message": f"Unsupported parameter: {name!r}", "type": "invalid_request_error", "param": name}
            return JSONResponse({"error": error | {"code": "unsupported_parameter"}}, 400)
        if self.failures:
            self.failures -= 1
            return JSONResponse({"error": {"message": "try again"}}, 500)
        if self.mode in REFUSALS:
            error = {"message": f"no, not with {KEY}", "type": "x", "param": None, "code": None}
            return JSONResponse({"error": error}, REFUSALS[self.mode], headers={"Retry-After": "9"})
        if self.mode == "wrong JSON":
            if body.get("stream"):
                return Response(b'data: {"choices": [\n\n', media_type="text/event-stream")
            return Response(b'{"choices": [', media_type="application/json")
        if self.mode == "a page":
            return Response("<html>welcome</html>", media_type="text/html")
        if self.mode == "silent":
            await asyncio.sleep(1.5)
        if self.mode == "breaks off whole":
            return StreamingResponse(_half(), media_type="application/json", headers={"Content-Length": "500"})
        if "error with 200" in self.habits:
            return JSONResponse({"error": {"message": f"the model is gone, {KEY}", "code": 503}})
        if body.get("stream"):
            return StreamingResponse(stream(body), media_type="text/event-stream")
        return JSONResponse(whole(body))

    def _texts(self, body: dict[str, Any]) -> list[str]:
        """What is said; a seed, and how many requests came before, change it."""
        if (body.get("response_format") or {}).get("type") == "json_schema":
            return [SCHEMA_TEXT]
        return [*self.said, f" {body['seed']}"] if body.get("seed") else self.said

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        choices = []
        for index in range(body.get("n") or 1):
            message: dict[str, Any] = {"role": "assistant", "content": "".join(self._texts(body)) + (f" {index}" if index else "")}
            if "list content" in self.habits:
                thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
                message["content"] = [thought, {"type": "text", "text": message["content"]}]
            if body.get("tools") and body.get("tool_choice") != "none":
                message |= {"content": None, "tool_calls": [CALL]}
            choices.append({"index": index, "message": message, "finish_reason": "tool_calls" if body.get("tools") else "stop"})
            if body.get("logprobs"):
                choices[-1]["logprobs"] = {"content": [_logprob(text) for text in self.said], "refusal": None}
        found = {"id": "1", "object": "chat.completion", "choices": choices[::-1], "system_fingerprint": "fp_1"}
        return found if "no usage" in self.habits else found | {"usage": USAGE}

    async def _chat_stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        finished = False
        try:
            if "heartbeats" in self.habits:
                yield b": OPENROUTER PROCESSING\n\nevent: ping\n\ndata:\n\n"
            for index in range(body.get("n") or 1):
                yield _chunk({"role": "assistant", "content": ""}, index)
            if body.get("tools"):
                for part in self._call_parts():
                    yield part
            else:
                for text in self._texts(body):
                    if "heartbeats" in self.habits:
                        yield b": still here\r\n\r\n"
                    for index in range(body.get("n") or 1):
                        content: Any = text + (f"{index}" if index else "")
                        if "list content" in self.habits:
                            yield _chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}, index)
                            content = [{"type": "text", "text": content}]
                        yield _chunk({"content": content}, index, logprobs=_logprobs(text) if body.get("logprobs") else None)
                    if self.mode == "breaks off":
                        finished = True
                        return
                    if self.mode == "slow":
                        await asyncio.sleep(0.05)
            if "no finish reason" not in self.habits:
                for index in range(body.get("n") or 1):
                    yield _chunk({}, index, "tool_calls" if body.get("tools") else "length")
            if (body.get("stream_options") or {}).get("include_usage"):
                yield event({"choices": [], "usage": USAGE})
            yield b"data: [DONE]\n\n"
            finished = True
        finally:
            self.left += not finished

    def _call_parts(self) -> list[bytes]:
        if "places of calls" in self.habits:  # two calls, each whole, each as the first
            calls = [CALL | {"index": 0}, CALL | {"index": 0, "id": "call_2"}]
            return [_chunk({"tool_calls": [call]}, 0) for call in calls]
        begin = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "calendar", "arguments": ""}}
        parts = [begin, *({"index": 0, "function": {"arguments": text}} for text in ('{"day": ', '"Monday"}'))]
        return [_chunk({"tool_calls": [part]}, 0) for part in parts]

    def _message(self, body: dict[str, Any]) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "".join(self.said)}]
        if body.get("tools"):
            content.append({"type": "tool_use", "id": "toolu_1", "name": "calendar", "input": {"day": "Monday"}})
        return {
            "id": "msg_1", "type": "message", "role": "assistant", "content": content, "model": "claude",
            "stop_reason": "tool_use" if body.get("tools") else "end_turn", "usage": {"input_tokens": 9, "output_tokens": 3},
        }  # fmt: skip

    async def _message_stream(self, body: dict[str, Any]) -> AsyncIterator[bytes]:
        def sent(kind: str, **fields: Any) -> bytes:
            return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

        yield sent("message_start", message={"id": "msg_1", "usage": {"input_tokens": 9, "output_tokens": 1}})
        yield sent("ping")
        yield sent("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for text in self.said:
            yield sent("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
            if self.mode == "breaks off":
                return
        yield sent("content_block_stop", index=0)
        if body.get("tools"):
            block = {"type": "tool_use", "id": "toolu_1", "name": "calendar", "input": {}}
            yield sent("content_block_start", index=1, content_block=block)
            for part in ('{"day": ', '"Monday"}'):
                yield sent("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": part})
            yield sent("content_block_stop", index=1)
        yield sent("message_delta", delta={"stop_reason": "tool_use" if body.get("tools") else "max_tokens"}, usage={"output_tokens": 3})
        yield sent("message_stop")


@contextmanager
def running(stand_in: StandIn) -> Any:
    """Run it on a free port of 127.0.0.1."""
    with run_app(stand_in.app()) as url:
        stand_in.url = url
        yield stand_in


async def _half() -> AsyncIterator[bytes]:
    yield b'{"choices": [{"index": 0, "message"'
    raise ConnectionResetError("breaks off")


def _logprob(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": -0.5, "bytes": list(token.encode()), "top_logprobs": []}


def _logprobs(token: str) -> dict[str, Any]:
    return {"content": [_logprob(token)], "refusal": None}


def _chunk(delta: dict[str, Any], index: int, reason: str | None = None, logprobs: Any = None) -> bytes:
    return event({"choices": [{"index": index, "delta": delta, "finish_reason": reason, "logprobs": logprobs}]})
