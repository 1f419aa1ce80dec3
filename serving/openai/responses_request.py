"""The body of ``POST /v1/responses``, and the chat request that stands for it.

The endpoint is stateless: nothing is kept under the response's id, so the client sends the whole conversation as ``input``. References to
single items of recent responses are resolved.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter

from serving.openai.messages import MAX_TURNS, TEXT_PARTS, AnyText
from serving.openai.recent_items import CallersItems
from serving.openai.request import ChatRequest, Sampled, TokenLimit, TopLogprobs
from serving.requests import loaded, read
from storage.errors import InputRefused
from streams.http.fields import absent
from trainers.data.messages import ONE, SEVERAL, one_or_several

SAME = (  # fields that a chat request has under the same name
    *("model", "temperature", "top_p", "stream", "parallel_tool_calls", "user", "metadata", "store", "service_tier"),
    *("safety_identifier", "prompt_cache_key", "top_logprobs"),
)
RENAMED = {"max_output_tokens": "max_completion_tokens"}
OF_CHAT = {"messages": "input", "max_completion_tokens": "max_output_tokens", "response_format": "text.format"}  # and their names here
WITH_LOGPROBS = "message.output_text.logprobs"  # in ``include``
STATEFUL = {"previous_response_id": "input", "conversation": "input", "prompt": "input"}  # and the field to use instead
READ = frozenset((*SAME, *RENAMED, *STATEFUL, "input", "instructions", "tools", "tool_choice", "text", "reasoning", "include"))


class ResponsesRequest(Sampled):
    """The fields that are read; others are accepted and have no effect."""

    model_config = ConfigDict(json_schema_extra={"allOf": [absent(*STATEFUL)]})

    input: Annotated[
        Annotated[AnyText, Tag(ONE)] | Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=MAX_TURNS), Tag(SEVERAL)],
        Discriminator(one_or_several),
    ]
    instructions: str | None = None
    max_output_tokens: TokenLimit | None = None
    top_logprobs: TopLogprobs | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    tool_choice: str | dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    include: tuple[str, ...] | None = None
    background: Annotated[bool, Field(json_schema_extra={"const": False})] | None = None


RESPONSES = TypeAdapter(ResponsesRequest)


def as_chat(raw: bytes, recent: CallersItems) -> tuple[ResponsesRequest, Mapping[str, Any], ChatRequest]:
    """The request, its fields as they were sent, and the chat request.

    Raises
    ------
    InputRefused
        The request is invalid, or refers to what an earlier response has left on the server.
    """
    asked = read(RESPONSES, raw)
    sent = loaded(raw)
    for name, instead in STATEFUL.items():
        if sent.get(name) is not None:
            raise InputRefused(f"{name}: this server keeps no responses; send the whole conversation as {instead}", name)
    if asked.background:
        raise InputRefused("background: not supported; leave it out, or set stream", "background")
    chat: dict[str, Any] = {name: sent[name] for name in SAME if sent.get(name) is not None}
    chat |= {new: sent[old] for old, new in RENAMED.items() if sent.get(old) is not None}
    chat["messages"] = [
        *([{"role": "system", "content": asked.instructions}] if asked.instructions else []),
        *_messages(asked.input, recent),
    ]
    if tools := [_tool(each) for each in asked.tools or () if each.get("type") == "function"]:
        chat["tools"] = tools
    if isinstance(asked.tool_choice, dict):
        chat["tool_choice"] = {"type": "function", "function": {"name": asked.tool_choice.get("name")}}
    elif asked.tool_choice is not None:
        chat["tool_choice"] = asked.tool_choice
    if asked.text is not None:
        if isinstance(form := asked.text.get("format"), Mapping) and form.get("type") != "text":
            chat["response_format"] = _format(form)
        if asked.text.get("verbosity") is not None:
            chat["verbosity"] = asked.text["verbosity"]
    if asked.reasoning is not None and asked.reasoning.get("effort") is not None:
        chat["reasoning_effort"] = asked.reasoning["effort"]
    if chat.get("top_logprobs") or WITH_LOGPROBS in (asked.include or ()):
        chat["logprobs"] = True
    return asked, sent, ChatRequest.made(chat)


def without_effect(asked: ResponsesRequest, sent: Mapping[str, Any]) -> list[str]:
    """Fields that have no counterpart in a chat request, and tools that are not functions."""
    fields = [name for name, value in sent.items() if name not in READ and value not in (None, False, [], {}, "", "disabled")]
    fields += [f"include.{each}" for each in asked.include or () if each != WITH_LOGPROBS]
    return sorted(fields + [f"tools.{each.get('type')}" for each in asked.tools or () if each.get("type") != "function"])


def _messages(given: str | Sequence[Mapping[str, Any]], recent: CallersItems) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    messages: list[dict[str, Any]] = []
    for index, item in enumerate(given):
        kind = item.get("type") or ("item_reference" if set(item) == {"id"} else "message")
        if kind == "item_reference":
            known = recent.find(item.get("id"))
            if known is None:
                raise InputRefused(
                    f"input.{index}.id: this server does not know {str(item.get('id'))[:80]!r} any more; send the item itself",
                    f"input.{index}.id",
                )
            item, kind = known, known["type"]
        if kind == "message":
            messages.append({"role": item.get("role"), "content": _content(item.get("content"))})
        elif kind == "function_call":
            call = {"id": item.get("call_id"), "type": "function"}
            call["function"] = {"name": item.get("name"), "arguments": item.get("arguments")}
            if not messages or messages[-1].get("role") != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            output = item.get("output")
            content = _content(output) if isinstance(output, list) else output
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": content})
        elif kind != "reasoning":  # a reasoning item belongs to the server that wrote it
            raise InputRefused(
                f"input.{index}.type: {str(kind)[:40]!r} items are not supported; send messages and function calls", f"input.{index}"
            )
    return messages


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in TEXT_PARTS:
            parts.append({"type": "text", "text": part.get("text", part.get("refusal"))})
        elif kind == "input_image":
            parts.append({"type": "image_url", "image_url": {"url": part.get("image_url")}})
        else:
            parts.append(dict(part) if isinstance(part, Mapping) else {"type": str(part)[:40]})
    return parts


def _tool(given: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: given[name] for name in ("name", "description", "parameters", "strict") if given.get(name) is not None}
    return {"type": "function", "function": function}


def _format(given: Mapping[str, Any]) -> dict[str, Any]:
    if given.get("type") != "json_schema":
        return dict(given)
    return {"type": "json_schema", "json_schema": {name: value for name, value in given.items() if name != "type"}}
