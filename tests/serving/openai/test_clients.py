"""Requests as real clients build them, answered by the local model: Open WebUI, LangChain, LlamaIndex, the Vercel AI SDK."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import openai
import pytest

from storage.events import ReplySent
from storage.settings import Settings
from tests.serving.conftest import Server, run_serving
from tests.serving.openai.stand_in import ASKED

CALENDAR = {
    "type": "function",
    "function": {
        "name": "calendar",
        "description": "Free slots",
        "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
    },
}


def chat(server: Server, **body: Any) -> httpx.Response:
    return httpx.post(
        f"{server.url}/v1/chat/completions", json={"model": "champion", "messages": ASKED, "max_tokens": 4, "seed": 3} | body, timeout=20
    )


def logged(server: Server, reply_id: str) -> ReplySent:
    event = server.wait_for("chat.replies", lambda event: event.event_id == UUID(reply_id))
    assert isinstance(event, ReplySent)
    return event


def test_open_webuis_default_request_with_tools_is_answered_in_text(server: Server) -> None:
    answer = chat(server, stream=True, stream_options={"include_usage": True}, tools=[CALENDAR], min_p=0.05, params={}, session_id="s")
    assert answer.status_code == 200
    assert answer.headers["X-FeedbackLoop-Ignored"] == "min_p, session_id, tools"
    assert answer.text.endswith("data: [DONE]\n\n")


UNLOGGED: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "### Task:\nGenerate a title for: when is the interview ?"}]},
    {"model": "unlogged"},
    {"metadata": {"feedback": "off"}},
    {"store": False},
]


@pytest.mark.parametrize("body", UNLOGGED, ids=["title", "model", "metadata", "store"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_no_feedback_material_is_answered_and_not_logged(server: Server, body: dict[str, Any], stream: bool) -> None:
    conversation = f"unlogged-{UNLOGGED.index(body)}-{stream}"
    metadata = {"conversation_id": conversation} | body.get("metadata", {})
    answer = chat(server, stream=stream, **body | {"metadata": metadata})
    assert answer.status_code == 200
    assert "X-FeedbackLoop-Reply" not in answer.headers
    assert '"reply_id":null,"pair_id":null' in answer.text
    kept = chat(server, metadata={"conversation_id": f"{conversation}-kept"}).json()["feedbackloop"]["reply_id"]
    logged(server, kept)  # later on the log
    assert conversation not in {event.conversation_id for event in server.events("chat.replies") if isinstance(event, ReplySent)}


def test_langchains_agent_messages_become_text_that_can_be_judged(server: Server) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "calendar", "arguments": '{"day": "monday"}'}}
    messages = [
        {"role": "system", "content": "our team", "name": "setter"},
        {"role": "user", "content": "when is the interview ?", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "call_1", "name": "calendar"},
        {"role": "assistant", "content": "", "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "yes please"}]},
    ]
    answer = chat(server, messages=messages, tools=[CALENDAR], tool_choice="auto", parallel_tool_calls=False, n=1, stream=False)
    assert answer.status_code == 200, answer.text
    reply = logged(server, answer.headers["X-FeedbackLoop-Reply"])
    assert [(message.role, message.content) for message in reply.prompt] == [
        ("system", "our team"),
        ("user", "when is the interview ?"),
        ("assistant", '[calls calendar({"day": "monday"})]'),
        ("user", "[calendar returned: noon]"),
        ("user", "yes please"),
    ]


def test_an_empty_reply_in_the_history_does_not_end_a_conversation(server: Server) -> None:
    contents: list[Any] = ["", None, []]
    for content in contents:
        messages = [*ASKED, {"role": "assistant", "content": content}, {"role": "user", "content": "please confirm"}]
        assert chat(server, messages=messages).status_code == 200


def test_thoughts_that_a_client_sends_back_are_left_out(server: Server) -> None:
    thinking = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "soon"}],
        "reasoning_content": "hm",
    }
    answer = chat(server, messages=[*ASKED, thinking, {"role": "user", "content": "when ?"}])
    assert answer.status_code == 200, answer.text
    assert [message.content for message in logged(server, answer.headers["X-FeedbackLoop-Reply"]).prompt][1] == "soon"


def test_llamaindexs_completion_is_answered_as_a_chat(server: Server) -> None:
    client = server.openai()
    whole = client.completions.create(model="champion", prompt="when is the interview ?", temperature=0, max_tokens=8)
    assert whole.choices[0].text
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    same = server.whole(model="champion", messages=ASKED, temperature=0, max_tokens=8)
    assert whole.choices[0].text == same.choices[0].message.content
    chunks = list(client.completions.create(model="champion", prompt=["when is the interview ?"], temperature=0, max_tokens=8, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert whole.model_extra is not None
    assert logged(server, whole.model_extra["feedbackloop"]["reply_id"]).reply == whole.choices[0].text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": [1, 2, 3]}, "prompt.0"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": "a", "temperature": 3}, "temperature"),
    ],
)
def test_a_wrong_completion_request_is_refused_by_the_name_of_its_field(server: Server, body: dict[str, Any], field: str) -> None:
    answer = httpx.post(f"{server.url}/v1/completions", json={"model": "champion"} | body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_the_vercel_ai_sdks_responses_are_answered_and_can_be_referred_to(server: Server) -> None:
    client = server.openai()
    first = client.responses.create(
        model="champion", input="when is the interview ?", instructions="our team", temperature=0, max_output_tokens=5
    )
    assert first.output_text
    assert first.status in ("completed", "incomplete")
    assert first.model_extra is not None
    reply = logged(server, first.model_extra["feedbackloop"]["reply_id"])
    assert [(message.role, message.content) for message in reply.prompt] == [("system", "our team"), ("user", "when is the interview ?")]
    assert reply.reply == first.output_text
    second = client.responses.create(
        model="champion",
        input=[
            {"role": "developer", "content": "our team"},
            {"role": "user", "content": [{"type": "input_text", "text": "when is the interview ?"}]},
            {"type": "item_reference", "id": first.output[0].id or ""},
            {"role": "user", "content": "thanks !"},
        ],
        temperature=0,
        max_output_tokens=5,
    )
    assert second.model_extra is not None
    found = logged(server, second.model_extra["feedbackloop"]["reply_id"])
    assert [message.content for message in found.prompt] == ["our team", "when is the interview ?", first.output_text, "thanks !"]
    assert found.conversation_id == reply.conversation_id
    with client.responses.stream(model="champion", input="yes ?", temperature=0, max_output_tokens=5) as stream:
        events = list(stream)
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        [final] = [event.response for event in events if event.type in ("response.completed", "response.incomplete")]
        assert text == final.output_text


def test_calls_of_functions_in_a_responses_input_become_messages(server: Server) -> None:
    items = [
        {"role": "user", "content": "when ?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "calendar", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "noon"},
    ]
    answer = httpx.post(f"{server.url}/v1/responses", json={"model": "champion", "input": items, "max_output_tokens": 4, "temperature": 0})
    assert answer.status_code == 200, answer.text
    reply = logged(server, answer.headers["X-FeedbackLoop-Reply"])
    assert [message.content for message in reply.prompt] == ["when ?", "[calls calendar({})]", "[calendar returned: noon]"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "a", "background": True}, "background"),
        ({"input": "a", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.id"),
        ({"input": [{"type": "image_generation_call"}]}, "input.0"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"input": "a", "text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text.format"),
    ],
)
def test_a_wrong_responses_request_is_refused_by_the_name_of_its_field(server: Server, body: dict[str, Any], field: str) -> None:
    answer = httpx.post(f"{server.url}/v1/responses", json={"model": "champion"} | body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text


def test_a_response_that_is_not_to_be_stored_cannot_be_referred_to(server: Server) -> None:
    client = server.openai()
    first = client.responses.create(model="champion", input="when ?", temperature=0, max_output_tokens=3, store=False)
    with pytest.raises(openai.BadRequestError, match="send the item itself"):
        client.responses.create(model="champion", input=[{"type": "item_reference", "id": first.output[0].id or ""}])


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Any) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("embedding")
    settings = Settings.read(folder, environ={}).with_values(
        {"home": folder / "home"}, features=tiny_encoder, upstream={"url": "http://127.0.0.1:9/v1", "model": "m"}
    )
    with run_serving(settings) as running:
        yield running


def test_embeddings_are_the_same_as_floats_and_in_base64_which_is_the_clients_default(embedding: Server) -> None:
    client = embedding.openai()
    texts = ["when is the interview ?", "on monday"]
    found = client.embeddings.create(model="embedding", input=texts)
    floats = client.embeddings.create(model="embedding", input=texts, encoding_format="float")
    for one, other in zip(found.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding)
        assert sum(value * value for value in one.embedding) == pytest.approx(1, abs=1e-5)
    alone = client.embeddings.create(model="all-MiniLM-L6-v2", input=texts[1])
    assert alone.data[0].embedding == pytest.approx(found.data[1].embedding, abs=1e-5)
    assert found.usage.prompt_tokens == found.usage.total_tokens > 0


@pytest.mark.parametrize(
    ("body", "field", "status"),
    [
        ({"input": ""}, "input", 400),
        ({"input": []}, "input", 400),
        ({"input": [1, 2]}, "input.0", 400),
        ({"input": ["a"] * 257}, "input", 400),
        ({"input": "a", "dimensions": 7}, "dimensions", 400),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", 400),
        ({"input": "a", "model": "text-embedding-3-small"}, "model", 404),
    ],
)
def test_a_wrong_embedding_request_is_refused_by_the_name_of_its_field(
    embedding: Server, body: dict[str, Any], field: str, status: int
) -> None:
    answer = httpx.post(f"{embedding.url}/v1/embeddings", json={"model": "embedding"} | body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, field), answer.text
