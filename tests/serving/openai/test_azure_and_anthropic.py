"""Azure's address and header, and Anthropic's Messages protocol, behind the same chat API."""

from typing import Any

import httpx
import openai
import pytest

from storage.events import ReplySent
from storage.settings import Settings
from tests.serving.conftest import Server, Start
from tests.serving.openai.conftest import NO_FILTERS
from tests.serving.openai.stand_in import ASKED, KEY, StandIn

TOOL = {
    "type": "function",
    "function": {"name": "calendar", "description": "Free slots", "parameters": {"type": "object", "properties": {}}},
}


def section(upstream: StandIn, kind: str) -> dict[str, Any]:
    if kind == "azure":
        return {"kind": kind, "url": upstream.url, "key": KEY, "model": "my-gpt", "api_version": "2024-10-21", "retries": 0}
    return {"kind": kind, "url": f"{upstream.url}/v1", "key": KEY, "model": "claude-x", "max_tokens": 77, "retries": 0}


def chat(server: Server, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json={"model": "champion", "messages": ASKED} | body)


def test_azure_is_asked_at_the_address_of_its_deployment(start: Start, settings: Settings, upstream: StandIn) -> None:
    with start(settings.with_values(upstream=section(upstream, "azure"), serving={"pairing_share": 0})) as server:
        whole = server.whole(model="champion", messages=ASKED)
        chunks = server.streamed(model="champion", messages=ASKED)
    assert whole.choices[0].message.content == "On Monday."
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "On Monday."
    assert whole.model == "my-gpt"
    assert upstream.paths == ["/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"] * 2
    assert {headers["api-key"] for headers in upstream.headers} == {KEY}
    assert not any("authorization" in headers for headers in upstream.headers)


def test_azure_is_set_by_the_environment_alone(start: Start, settings: Settings, upstream: StandIn) -> None:
    home = settings.common.home
    variables = {f"FEEDBACKLOOP_UPSTREAM__{name.upper()}": str(value) for name, value in section(upstream, "azure").items()}
    read = Settings.read(home.parent, environ={"FEEDBACKLOOP_HOME": str(home)} | variables)
    with start(read) as server:
        assert server.whole(model="my-gpt", messages=ASKED).choices[0].message.content == "On Monday."


@pytest.fixture
def claude(start: Start, settings: Settings, upstream: StandIn) -> Any:
    values = {"upstream": section(upstream, "anthropic"), "serving": {"pairing_share": 0}, "safety": NO_FILTERS}
    with start(settings.with_values(**values)) as server:
        yield server


def test_a_chat_becomes_a_message_of_anthropics_protocol(claude: Server, upstream: StandIn) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "calendar", "arguments": '{"day": "monday"}'}}
    messages = [
        {"role": "system", "content": "our team"},
        {"role": "developer", "content": [{"type": "text", "text": "be brief"}]},
        {"role": "user", "content": "when ?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "call_1"},
        {"role": "user", "content": "thanks"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "and then ?"},
    ]
    sent = {"temperature": 1.5, "stop": "!", "user": "u-1", "tools": [TOOL], "tool_choice": "auto", "parallel_tool_calls": False, "seed": 5}
    answer = chat(claude, messages=messages, **sent)
    assert answer.headers["X-FeedbackLoop-Ignored"] == "seed"
    assert upstream.paths == ["/v1/messages"]
    assert upstream.headers[0]["x-api-key"] == KEY
    assert upstream.headers[0]["anthropic-version"] == "2023-06-01"
    text = {"type": "text"}
    assert upstream.asked[0] == {
        "model": "claude-x",
        "max_tokens": 77,
        "system": "our team\n\nbe brief",
        "messages": [
            {"role": "user", "content": [text | {"text": "when ?"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "calendar", "input": {"day": "monday"}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "noon"},
                    text | {"text": "thanks"},
                    text | {"text": "and then ?"},
                ],
            },
        ],
        "temperature": 1.0,
        "stop_sequences": ["!"],
        "metadata": {"user_id": "u-1"},
        "tools": [{"name": "calendar", "input_schema": {"type": "object", "properties": {}}, "description": "Free slots"}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    }
    body = answer.json()
    [choice] = body["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("On Monday.", "tool_calls")
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "calendar", "arguments": '{"day": "Monday"}'}
    assert body["usage"] == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def test_only_what_the_client_sent_goes_to_anthropic(claude: Server, upstream: StandIn) -> None:
    upstream.accepted = frozenset(("model", "messages", "max_tokens", "stream"))
    assert chat(claude).status_code == 200
    assert chat(claude, max_completion_tokens=5, stream=True).status_code == 200
    assert [body["max_tokens"] for body in upstream.asked] == [77, 5]


@pytest.mark.parametrize("tools", [False, True])
def test_anthropics_stream_becomes_chunks(claude: Server, upstream: StandIn, tools: bool) -> None:
    chunks = claude.streamed(
        model="champion", messages=ASKED, stream_options={"include_usage": True}, **({"tools": [TOOL]} if tools else {})
    )
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    assert [delta.content for delta in deltas if delta.content] == upstream.said
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    if tools:
        assert (calls[0].id, calls[0].index) == ("toolu_1", 0)
        assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"day": "Monday"}'
    assert chunks[-2].choices[0].finish_reason == ("tool_calls" if tools else "length")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 12
    [reply] = claude.events("chat.replies")
    assert isinstance(reply, ReplySent)
    assert (reply.reply, reply.version) == ("On Monday.", "claude-x")


def test_several_choices_are_several_requests_to_anthropic(claude: Server, upstream: StandIn) -> None:
    assert len(claude.whole(model="champion", messages=ASKED, n=2).choices) == 2
    chunks = claude.streamed(model="champion", messages=ASKED, n=2, tools=[TOOL])
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [call.index for call in calls] == [0, 0]
    assert len(upstream.asked) == 4


BAD_CALL = {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "["}}]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [*ASKED, BAD_CALL]}, "messages"),
        ({"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"arguments": "[" * 100_000}}]}]}, "messages"),
        (
            {"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"arguments": '{"a":' * 300 + "1" + "}" * 300}}]}]},
            "body",
        ),
        ({"messages": [*ASKED, {"role": "assistant", "tool_calls": [{"function": {"arguments": 5}}]}]}, "messages"),
    ],
)
def test_what_anthropic_cannot_be_asked_is_refused(claude: Server, upstream: StandIn, body: dict[str, Any], field: str) -> None:
    for stream in (False, True):
        answer = chat(claude, stream=stream, **body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text
    assert upstream.asked == []


def test_a_malformed_call_does_not_fail_the_service(claude: Server) -> None:
    for call in ({"function": "f"}, {}, {"function": {"name": 5, "arguments": None}}):
        assert chat(claude, messages=[*ASKED, {"role": "assistant", "tool_calls": [call]}, *ASKED]).status_code == 200
    assert chat(claude, tools=[TOOL], tool_choice={"type": "function", "function": "f"}).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("mode", "status"), [("unauthorized", 502), ("broken", 502), ("a page", 502), ("wrong JSON", 502), ("busy", 429), ("refuse", 400)]
)
def test_anthropics_failures_have_their_status_and_never_show_the_key(
    claude: Server, upstream: StandIn, caplog: pytest.LogCaptureFixture, mode: str, status: int, stream: bool
) -> None:
    upstream.mode = mode
    answer = chat(claude, stream=stream)
    assert answer.status_code == status
    assert KEY not in answer.text + caplog.text
    assert claude.events("chat.replies") == []


def test_a_stream_of_anthropics_that_breaks_off_is_an_error(claude: Server, upstream: StandIn) -> None:
    upstream.mode = "breaks off"
    with pytest.raises(openai.APIError, match="before the end of the reply"):
        claude.streamed(model="champion", messages=ASKED)
    assert claude.events("chat.replies") == []
