"""A stand-in for an upstream server that can call tools and keep to a JSON schema, for tests of real clients."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

TEXT = "It is on Monday at nine."
USAGE = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}


def app() -> FastAPI:
    """Calls the first tool, with arguments that fit its schema, and answers in text once it has the result."""
    server = FastAPI()

    @server.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        asked = await request.json()
        message, reason = _message(asked), "stop"
        if message.get("tool_calls"):
            reason = "tool_calls"
        if asked.get("stream"):
            usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            return StreamingResponse(_events(message, reason, usage), media_type="text/event-stream")
        choice = {"index": 0, "finish_reason": reason, "message": message}
        return JSONResponse({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": USAGE})

    return server


def _message(asked: dict[str, Any]) -> dict[str, Any]:
    has_result = any(message["role"] == "tool" for message in asked["messages"])
    if asked.get("tools") and not has_result and asked.get("tool_choice") != "none":
        function = asked["tools"][0]["function"]
        arguments = json.dumps(_example(function.get("parameters") or {"type": "object"}))
        call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    form = asked.get("response_format") or {}
    if form.get("type") == "json_schema":
        return {"role": "assistant", "content": json.dumps(_example(form["json_schema"]["schema"]))}
    return {"role": "assistant", "content": TEXT}


def _example(schema: dict[str, Any]) -> Any:
    """A value of the schema."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _example(each) for name, each in schema.get("properties", {}).items()}
        case "array":
            return [_example(schema.get("items", {}))]
        case "integer" | "number":
            return 9
        case "boolean":
            return True
    return "Monday"


async def _events(message: dict[str, Any], reason: str, usage: bool) -> AsyncIterator[str]:
    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return (
            f"data: {json.dumps({'id': '1', 'object': 'chat.completion.chunk', 'created': 1, 'model': 'm', 'choices': choices} | more)}\n\n"
        )

    def delta(fields: dict[str, Any], finish_reason: str | None = None) -> str:
        return event([{"index": 0, "delta": fields, "finish_reason": finish_reason}])

    yield delta({"role": "assistant", "content": None if message.get("tool_calls") else ""})
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        yield delta({"tool_calls": [{**call, "index": index, "function": {"name": function["name"], "arguments": ""}}]})
        for start in range(0, len(function["arguments"]), 5):
            yield delta({"tool_calls": [{"index": index, "function": {"arguments": function["arguments"][start : start + 5]}}]})
    text = message["content"] or ""
    for start in range(0, len(text), 5):
        yield delta({"content": text[start : start + 5]})
    yield delta({}, reason)
    if usage:
        yield event([], usage=USAGE)
    yield "data: [DONE]\n\n"
