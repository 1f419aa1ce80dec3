"""Bodies and stream events against the types of the official client, which validate them here and are not lenient as in the client."""

import json
from functools import cache
from typing import Any

import httpx
import pytest
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.serving.conftest import Server
from tests.serving.openai.stand_in import ASKED, StandIn

OURS = {"feedbackloop"}
FLAT_TOOL = {"type": "function", "name": "calendar", "parameters": {"type": "object", "properties": {}}, "strict": True}


def posted(server: Server, path: str, **body: Any) -> httpx.Response:
    answer = httpx.post(f"{server.url}/v1/{path}", json={"model": "champion"} | body, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer


def valid(shape: Any, body: Any) -> Any:
    """The body as ``shape``; every value has its type, and no field is unknown but ours."""
    found = adapter(shape).validate_python(body, strict=True)
    assert unknown(found) <= OURS
    return found


@cache
def adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def unknown(value: Any) -> set[str]:
    if isinstance(value, BaseModel):
        fields = [getattr(value, name) for name in type(value).model_fields]
        return set(value.model_extra or {}).union(*map(unknown, fields))
    if isinstance(value, list | tuple):
        return set().union(*map(unknown, value))
    return set()


def data_of(answer: httpx.Response) -> list[Any]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("more", [{}, {"n": 2, "logprobs": True, "top_logprobs": 2}, {"stream_options": {"include_usage": True}}])
def test_chat_has_the_clients_types(server: Server, more: dict[str, Any]) -> None:
    asked = {"messages": ASKED, "max_tokens": 6, "seed": 5} | more
    valid(ChatCompletion, posted(server, "chat/completions", **asked).json())
    streamed = posted(server, "chat/completions", stream=True, **asked)
    assert streamed.text.endswith("data: [DONE]\n\n")
    chunks = [valid(ChatCompletionChunk, body) for body in data_of(streamed)]
    assert len({chunk.id for chunk in chunks}) == 1
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert len(reasons) == more.get("n", 1)


def test_completions_embeddings_and_models_have_the_clients_types(server: Server) -> None:
    asked = {"prompt": "when is the interview ?", "max_tokens": 6, "logprobs": 2, "n": 2, "echo": True, "seed": 5}
    whole = valid(Completion, posted(server, "completions", **asked).json())
    bodies = data_of(posted(server, "completions", stream=True, **asked))
    for body in bodies:
        for choice in body["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"  # null before the end, in OpenAI's streams too, but not in the type
    chunks = [valid(Completion, body) for body in bodies]
    for index in range(2):
        own = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert "".join(choice.text for choice in own) == whole.choices[index].text
        assert whole.choices[index].text.startswith("when is the interview ?")
        assert [token for choice in own if choice.logprobs for token in choice.logprobs.tokens] == whole.choices[index].logprobs.tokens
    for listed in httpx.get(f"{server.url}/v1/models").json()["data"]:
        valid(Model, listed)
    valid(CreateEmbeddingResponse, posted(server, "embeddings", model="embedding", input=["when ?", "on monday"]).json())


@pytest.mark.parametrize("more", [{}, {"top_logprobs": 2}, {"instructions": "be brief", "metadata": {"a": "b"}, "top_p": 0.5}])
def test_responses_of_the_local_model_have_the_clients_types(server: Server, more: dict[str, Any]) -> None:
    checked(server, **{"input": "when is the interview ?", "max_output_tokens": 6, "temperature": 0} | more)


@pytest.mark.parametrize("habit", [None, "list content", "no finish reason", "places of calls"])
@pytest.mark.parametrize("tools", [None, [FLAT_TOOL]])
def test_responses_of_an_upstream_have_the_clients_types(through: Server, upstream: StandIn, habit: str | None, tools: Any) -> None:
    upstream.habits = frozenset((habit,)) if habit else frozenset()
    checked(through, input=[{"role": "user", "content": [{"type": "input_text", "text": "when ?"}]}], **({"tools": tools} if tools else {}))


def test_an_error_within_a_stream_of_events_is_an_event_of_the_clients_type(through: Server, upstream: StandIn) -> None:
    upstream.mode = "breaks off"
    events = [valid(ResponseStreamEvent, body) for body in data_of(posted(through, "responses", input="when ?", stream=True))]
    assert events[-1].type == "error"
    assert [event.sequence_number for event in events] == list(range(len(events)))


def checked(server: Server, **asked: Any) -> None:
    """The response is valid; the events are, too, are numbered, and tell the same as the objects that they end with."""
    whole = valid(Response, posted(server, "responses", **asked).json())
    assert whole.output
    answer = posted(server, "responses", stream=True, **asked)
    named = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    events = [valid(ResponseStreamEvent, body) for body in data_of(answer)]
    assert [event.type for event in events] == named
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    final = events[-1].response
    assert events[-1].type == f"response.{final.status}"
    added = {event.output_index: event.item for event in events if event.type == "response.output_item.added"}
    done = {event.output_index: event.item for event in events if event.type == "response.output_item.done"}
    assert list(added) == list(done) == list(range(len(final.output)))
    for place, item in enumerate(final.output):
        assert done[place] == item
        assert added[place].id == item.id
        deltas = "".join(event.delta for event in events if event.type.endswith(".delta") and event.output_index == place)
        assert deltas == (item.arguments if item.type == "function_call" else item.content[0].text)
    assert len({event.item_id for event in events if hasattr(event, "item_id")}) == len(final.output)
