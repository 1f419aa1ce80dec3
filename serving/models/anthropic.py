"""Upstreams that speak Anthropic's Messages protocol (``POST /messages``, version 2023-06-01)."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from serving.models.backend import Answer, Choice, Delta, Question, token_counts
from serving.models.connection import Connection
from serving.models.upstream import UpstreamBackend, mapping, require, text_of
from serving.models.upstream_settings import UpstreamSettings
from serving.openai.messages import TEXT_PARTS, THOUGHTS
from storage.errors import InputRefused, UpstreamError

VERSION = "2023-06-01"
HONOURED = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "n"),
        *("tools", "tool_choice", "parallel_tool_calls", "user", "metadata", "store"),
    )
)
REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls", "refusal": "content_filter"}


def build(settings: UpstreamSettings) -> "AnthropicUpstream":
    """Build the backend."""
    require(settings, "key")
    headers = {"x-api-key": settings.key.get_secret_value(), "anthropic-version": VERSION}
    return AnthropicUpstream(Connection(f"{settings.url.rstrip('/')}/messages", headers, settings), settings)


class AnthropicUpstream(UpstreamBackend):
    """The ``Backend`` for Anthropic's API. Several choices are several requests."""

    honoured: frozenset[str] | None = HONOURED

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        answers = await asyncio.gather(*(self._one(question) for _ in range(question.n)))
        usage = token_counts(answers[0].usage["prompt_tokens"], sum(each.usage["completion_tokens"] for each in answers))
        return self._answered([each.choices[0] for each in answers], usage)

    async def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        if question.n > 1:  # the choices come one after the other
            answer = await self.complete(question)
            for index, choice in enumerate(answer.choices):
                calls = [{"index": place, **call} for place, call in enumerate(choice.more.get("tool_calls") or ())]
                yield Delta({"role": "assistant", "content": choice.text} | ({"tool_calls": calls} if calls else {}), index)
            yield answer
            return
        text, reason, made, counts = "", "", list[dict[str, Any]](), {"input_tokens": 0, "output_tokens": 0}
        async with self._connection.post(self._body(question) | {"stream": True}) as response:
            events = self._connection.events(response)
            begun = False
            async for data in events:
                event = self._connection.loads(data)
                kind = event.get("type")
                if kind == "error":
                    raise self._aborted(event.get("error"))
                if not begun:  # an error comes before it, so that it still sets the status
                    begun = True
                    yield Delta({"role": "assistant", "content": ""})
                counts |= _usage(event.get("usage") or mapping(event.get("message")).get("usage"))
                block = mapping(event.get("content_block"))
                if kind == "content_block_start" and block.get("type") == "tool_use":
                    made.append(_call(block.get("id"), block.get("name"), ""))
                    yield Delta({"tool_calls": [{"index": len(made) - 1, **_call(block.get("id"), block.get("name"), "")}]})
                delta = mapping(event.get("delta"))
                if delta.get("type") == "text_delta":
                    piece = text_of(delta.get("text"))
                    text += piece
                    yield Delta({"content": piece})
                elif delta.get("type") == "input_json_delta" and made:
                    part = str(delta.get("partial_json") or "")
                    made[-1]["function"]["arguments"] += part
                    yield Delta({"tool_calls": [{"index": len(made) - 1, "function": {"arguments": part}}]})
                reason = delta.get("stop_reason") or reason
                if kind == "message_stop":
                    await self._connection.finish(events)
                    break
            if not reason:
                raise UpstreamError("the upstream server closed the stream before the end of the reply")
        for place, call in enumerate(made):
            if not call["function"]["arguments"]:  # a call without arguments has no delta
                call["function"]["arguments"] = "{}"
                yield Delta({"tool_calls": [{"index": place, "function": {"arguments": "{}"}}]})
        yield self._answer(text, str(reason), made, counts)

    async def _one(self, question: Question) -> Answer:
        async with self._connection.post(self._body(question)) as response:
            body = self._connection.loads(await self._connection.read(response))
            if not isinstance(body.get("content"), list):
                raise self._connection.bad_response()
        blocks = [block for block in body["content"] if isinstance(block, Mapping)]
        calls = [
            _call(block.get("id"), block.get("name"), json.dumps(block.get("input") or {}))
            for block in blocks
            if block.get("type") == "tool_use"
        ]
        return self._answer(text_of(blocks), str(body.get("stop_reason") or "end_turn"), calls, _usage(body.get("usage")))

    def _answer(self, text: str, reason: str, calls: list[dict[str, Any]], counts: Mapping[str, int]) -> Answer:
        choice = Choice(text, REASONS.get(reason, "stop"), {"tool_calls": calls} if calls else {})
        return self._answered([choice], token_counts(counts.get("input_tokens", 0), counts.get("output_tokens", 0)))

    def _body(self, question: Question) -> dict[str, Any]:
        sent = question.sent
        form = mapping(sent.get("response_format"))
        if form.get("type") not in (None, "text"):
            raise InputRefused(
                f"response_format: {str(form.get('type'))[:40]!r} cannot be asked of this upstream; ask for text, or use a tool",
                "response_format",
            )
        messages = [message for message in sent.get("messages") or () if isinstance(message, Mapping)]
        system = [text for message in messages if message.get("role") in ("system", "developer") and (text := _plain(message))]
        body: dict[str, Any] = {
            "model": self._settings.model,
            "max_tokens": sent.get("max_completion_tokens") or sent.get("max_tokens") or self._settings.max_tokens,
            "messages": _turns(messages),
        }
        if system:
            body["system"] = "\n\n".join(system)
        if sent.get("temperature") is not None:
            body["temperature"] = min(sent["temperature"], 1.0)  # Anthropic's range ends there
        if sent.get("top_p") is not None:
            body["top_p"] = sent["top_p"]
        if stop := sent.get("stop"):
            body["stop_sequences"] = [stop] if isinstance(stop, str) else list(stop)
        if sent.get("user"):
            body["metadata"] = {"user_id": sent["user"]}
        return body | _tools(sent)


def _turns(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            continue
        blocks: list[dict[str, Any]] = []
        if role == "tool":
            blocks.append({"type": "tool_result", "tool_use_id": message.get("tool_call_id") or "", "content": _plain(message)})
        else:
            if text := _plain(message):
                blocks.append({"type": "text", "text": text})
            for call in message.get("tool_calls") or ():
                function = mapping(call.get("function"))
                given = _arguments(function.get("arguments"))
                blocks.append({"type": "tool_use", "id": call.get("id") or "", "name": function.get("name") or "", "input": given})
        if not blocks:
            continue
        side = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": side, "content": blocks})
    return turns


def _arguments(given: Any) -> dict[str, Any]:
    """The arguments of a tool call as the object that their text stands for."""
    try:
        found = given if isinstance(given, dict) else json.loads(given or "{}")
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputRefused("messages: the arguments of a tool call are not a JSON object", "messages")
    return found


def _plain(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list) and any(mapping(part).get("type") not in (*TEXT_PARTS, *THOUGHTS) for part in content):
        raise InputRefused("messages: only text can be sent to this upstream", "messages")
    return text_of(content)


def _tools(sent: Mapping[str, Any]) -> dict[str, Any]:
    functions = [
        tool["function"] for tool in sent.get("tools") or () if isinstance(tool, Mapping) and isinstance(tool.get("function"), dict)
    ]
    if not functions:
        return {}
    found: dict[str, Any] = {
        "tools": [
            {"name": each.get("name"), "input_schema": each.get("parameters") or {"type": "object", "properties": {}}}
            | ({"description": each["description"]} if each.get("description") else {})
            for each in functions
        ]
    }
    choice = sent.get("tool_choice")
    if isinstance(choice, Mapping):
        found["tool_choice"] = {"type": "tool", "name": mapping(choice.get("function")).get("name")}
    elif isinstance(choice, str) and choice in ("auto", "none", "required"):
        found["tool_choice"] = {"type": "any" if choice == "required" else choice}
    if sent.get("parallel_tool_calls") is False:
        found.setdefault("tool_choice", {"type": "auto"})["disable_parallel_tool_use"] = True
    return found


def _call(name_of_call: Any, function: Any, arguments: str) -> dict[str, Any]:
    return {"id": str(name_of_call or ""), "type": "function", "function": {"name": str(function or ""), "arguments": arguments}}


def _usage(given: Any) -> dict[str, int]:
    if not isinstance(given, Mapping):
        return {}
    return {name: given[name] for name in ("input_tokens", "output_tokens") if isinstance(given.get(name), int)}
