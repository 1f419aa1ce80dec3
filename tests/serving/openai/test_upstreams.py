"""Upstreams behind the chat API: what goes on to them, the habits that are tolerated, and every way in which they fail."""

import asyncio
import logging
import socket
import threading
from typing import Any

import httpx
import openai
import pydantic
import pytest
from openai import Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import SecretStr
from yarl import URL

from serving.app import create_app
from serving.models.backend import Answer, Question
from serving.models.circuit_breaker import CircuitBreaker
from serving.models.openai import OpenAIUpstream, build
from serving.models.upstream_address import proxy_for
from serving.models.upstream_settings import SecondUpstreamSettings, UpstreamSettings
from storage.errors import ConfigurationError, Overloaded, UpstreamError
from storage.events import Message, PairDrawn, ReplySent, Sampling
from storage.settings import Settings
from tests.serving.conftest import Server, Start, WaitUntil, ids_of
from tests.serving.openai.stand_in import ASKED, CALL, KEY, SCHEMA_TEXT, USAGE, StandIn, running

TOOL = {"type": "function", "function": {"name": "calendar", "parameters": {"type": "object", "properties": {"day": {"type": "string"}}}}}


def ask(server: Server, **more: Any) -> ChatCompletion | Stream[ChatCompletionChunk]:
    return server.ask(**{"model": "champion", "messages": ASKED} | more)


def whole(server: Server, **more: Any) -> ChatCompletion:
    return server.whole(**{"model": "champion", "messages": ASKED} | more)


def streamed(server: Server, **more: Any) -> list[ChatCompletionChunk]:
    return server.streamed(**{"model": "champion", "messages": ASKED} | more)


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index)


def replies(server: Server) -> list[ReplySent]:
    return [event for event in server.events("chat.replies") if isinstance(event, ReplySent)]


def pair_with(server: Server, pair_id: str | None) -> PairDrawn:
    pair = server.wait_for("feedback.pairs", lambda event: isinstance(event, PairDrawn) and str(event.pair_id) == pair_id)
    assert isinstance(pair, PairDrawn)
    return pair


def test_a_request_goes_on_as_it_was_sent_and_the_reply_is_logged_under_the_upstreams_model(through: Server, upstream: StandIn) -> None:
    sent = {
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": ["!"], "user": "Ada", "min_p": 0.1, "top_k": 5, "logit_bias": {"5": 1},
        "reasoning_effort": "low", "metadata": {"conversation_id": "c-1", "team": "x"}, "store": True, "seed": None,
    }  # fmt: skip
    answer = httpx.post(f"{through.url}/v1/chat/completions", json={"model": "champion", "messages": ASKED} | sent)
    assert "X-FeedbackLoop-Ignored" not in answer.headers
    body = answer.json()
    assert (body["choices"][0]["message"]["content"], body["model"], body["system_fingerprint"]) == ("On Monday.", "great-1", "fp_1")
    assert body["usage"] == USAGE
    assert upstream.asked[0] == {"model": "great-1", "messages": ASKED} | sent | {"metadata": {"team": "x"}}
    assert upstream.headers[0]["authorization"] == f"Bearer {KEY}"
    [reply] = replies(through)
    assert (reply.reply, reply.version, reply.conversation_id) == ("On Monday.", "great-1", "c-1")
    assert reply.sampling == Sampling(temperature=0.5, top_p=0.9, max_tokens=7, stop=("!",))


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_refuses_all_that_the_client_did_not_send_answers(through: Server, upstream: StandIn, stream: bool) -> None:
    upstream.accepted = frozenset(("model", "messages", "stream"))
    answer = ask(through, stream=stream)
    text = answer.choices[0].message.content if isinstance(answer, ChatCompletion) else text_of(list(answer))
    assert text == "On Monday."
    assert set(upstream.asked[0]) == {"model", "messages"} | ({"stream"} if stream else set())
    [reply] = replies(through)
    assert (reply.sampling.temperature, reply.sampling.top_p, reply.sampling.max_tokens) == (None, None, None)
    assert upstream.asked[0].get("stream", False) == stream
    with pytest.raises(openai.BadRequestError) as refusal:
        whole(through, max_tokens=5)
    assert (refusal.value.param, refusal.value.code) == ("max_tokens", "unsupported_parameter")


def test_the_name_of_the_token_limit_is_a_setting(start: Start, settings: Settings, upstream: StandIn) -> None:
    section = {"url": f"{upstream.url}/v1", "model": "m", "token_field": "max_completion_tokens"}
    with start(settings.with_values(upstream=section, serving={"pairing_share": 0})) as server:
        whole(server, max_tokens=5)
        whole(server, max_completion_tokens=6)
        whole(server)
    fields = [{name: value for name, value in body.items() if "tokens" in name} for body in upstream.asked]
    assert fields == [{"max_completion_tokens": 5}, {"max_completion_tokens": 6}, {}]


def test_a_stream_comes_through_piece_by_piece(through: Server, upstream: StandIn) -> None:
    chunks = streamed(through, stream_options={"include_usage": True})
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert pieces == upstream.said
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.model_dump(include=set(USAGE)) == USAGE
    [reply] = replies(through)
    assert reply.reply == "".join(upstream.said)


@pytest.mark.parametrize("habit", ["list content", "heartbeats", "no finish reason", "no usage"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_habits_of_servers_are_tolerated(through: Server, upstream: StandIn, habit: str, stream: bool) -> None:
    upstream.habits = frozenset((habit,))
    upstream.said = ["On\u2028", "Monday", "."]
    answer = ask(through, stream=stream)
    if isinstance(answer, ChatCompletion):
        assert answer.choices[0].message.content == "On\u2028Monday."
    else:
        chunks = list(answer)
        assert text_of(chunks) == "On\u2028Monday."
        assert chunks[-1].choices[0].finish_reason == ("stop" if habit == "no finish reason" else "length")
    assert [reply.reply for reply in replies(through)] == ["On\u2028Monday."]


@pytest.mark.parametrize("stream", [False, True])
def test_calls_of_tools_come_through_and_are_not_logged(through: Server, upstream: StandIn, stream: bool) -> None:
    answer = ask(through, stream=stream, tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    assert {name: upstream.asked[0][name] for name in ("tools", "tool_choice", "parallel_tool_calls")} == {
        "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False,
    }  # fmt: skip
    if isinstance(answer, ChatCompletion):
        message = answer.choices[0].message
        assert message.content is None
        assert message.tool_calls is not None
        assert [call.model_dump() for call in message.tool_calls] == [CALL]
        assert answer.choices[0].finish_reason == "tool_calls"
    else:
        chunks = list(answer)
        calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        assert "".join(call.function.arguments or "" for call in calls if call.function) == CALL["function"]["arguments"]  # type: ignore[index]
        assert (calls[0].id, {call.index for call in calls}) == ("call_1", {0})
        assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert replies(through) == []


def test_calls_that_a_server_sends_each_as_the_first_stay_apart(through: Server, upstream: StandIn) -> None:
    upstream.habits = frozenset(("places of calls",))
    chunks = streamed(through, tools=[TOOL])
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert [(call.index, call.id) for call in calls] == [(0, "call_1"), (1, "call_2")]


def test_several_choices_come_through_in_order_and_become_a_pair_at_once(through: Server) -> None:
    answer = whole(through, n=3)
    assert [choice.message.content for choice in answer.choices] == ["On Monday.", "On Monday. 1", "On Monday. 2"]
    pair = pair_with(through, ids_of(answer)["pair_id"])
    assert (pair.a.text, pair.b.text, pair.drawn, pair.probability) == ("On Monday.", "On Monday. 1", "shown", 1.0)
    chunks = streamed(through, n=2)
    assert (text_of(chunks), text_of(chunks, 1)) == ("On Monday.", "On 1Monday1.1")
    assert len(replies(through)) == 2
    repeated = whole(through, n=3)
    assert ids_of(repeated)["pair_id"] is None, "the pair is on the log already"


def test_log_probabilities_come_through(through: Server) -> None:
    answer = whole(through, logprobs=True)
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content is not None
    assert [token.token for token in answer.choices[0].logprobs.content] == ["On ", "Monday", "."]
    chunks = streamed(through, logprobs=True)
    found = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [token.token for each in found for token in each.content or ()] == ["On ", "Monday", "."]


class Appointment(pydantic.BaseModel):
    day: str
    hour: int


def test_structured_output_is_parsed_by_the_official_client(through: Server, upstream: StandIn) -> None:
    answer = through.openai().chat.completions.parse(model="champion", messages=ASKED, response_format=Appointment)  # type: ignore[arg-type]
    assert answer.choices[0].message.parsed == Appointment(day="Monday", hour=9)
    assert upstream.asked[0]["response_format"]["json_schema"]["strict"] is True
    response = through.openai().responses.parse(model="champion", input="when ?", text_format=Appointment)
    assert response.output_parsed == Appointment(day="Monday", hour=9)
    sent = next(body for body in upstream.asked if body["messages"][0]["content"] == "when ?")
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["day", "hour"]
    assert {reply.reply for reply in replies(through)} == {SCHEMA_TEXT}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("mode", "status", "words"),
    [
        ("unauthorized", 502, "rejects the API key"),
        ("broken", 502, "failed (500)"),
        ("a page", 502, "expected format"),
        ("wrong JSON", 502, "expected format"),
        ("silent", 502, "in time"),
        ("busy", 429, "busy (429)"),
        ("refuse", 400, "rejects the request (400): no, not with ***"),
        ("error with 200", 502, "the model is gone, ***"),
        ("breaks off whole", 502, "does not answer"),
    ],
)
def test_an_upstream_failure_has_its_status_and_never_shows_the_key(
    through: Server, upstream: StandIn, caplog: pytest.LogCaptureFixture, mode: str, status: int, words: str, stream: bool
) -> None:
    if stream and mode in ("error with 200", "breaks off whole"):
        words = "expected format"
    upstream.mode, upstream.habits = mode, frozenset((mode,))
    caplog.set_level(logging.DEBUG)
    with pytest.raises(openai.APIStatusError) as failure:
        list(ask(through, stream=stream))
    assert failure.value.status_code == status
    assert failure.value.response.headers.get("Retry-After") == ("9" if mode == "busy" else None)
    assert words in str(failure.value)
    assert KEY not in str(failure.value)
    assert KEY not in caplog.text
    assert "Traceback" not in failure.value.response.text
    assert replies(through) == []


@pytest.mark.parametrize("endpoint", ["chat/completions", "completions", "responses"])
def test_a_stream_that_breaks_off_is_an_error_event_and_is_not_logged(through: Server, upstream: StandIn, endpoint: str) -> None:
    upstream.mode = "breaks off"
    body = {"model": "champion", "messages": ASKED, "prompt": "when ?", "input": "when ?", "stream": True}
    wanted = {"chat/completions": "messages", "completions": "prompt", "responses": "input"}[endpoint]
    sent = {name: value for name, value in body.items() if name in ("model", "stream", wanted)}
    answer = httpx.post(f"{through.url}/v1/{endpoint}", json=sent)
    assert answer.status_code == 200
    assert "before the end of the reply" in answer.text
    assert "[DONE]" not in answer.text
    assert "completed" not in answer.text.splitlines()[-2]
    assert replies(through) == []


def test_a_client_that_leaves_closes_the_upstreams_stream(through: Server, upstream: StandIn, wait_until: WaitUntil) -> None:
    upstream.mode, upstream.said = "slow", ["on "] * 400
    with httpx.stream(
        "POST", f"{through.url}/v1/chat/completions", json={"model": "champion", "messages": ASKED, "stream": True}
    ) as answer:
        next(answer.iter_lines())
    wait_until(lambda: upstream.left)
    assert replies(through) == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_upstream_is_a_502_that_says_what_to_do(
    start: Start, settings: Settings, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    section = {"url": "http://user:passw0rd@127.0.0.1:9/v1", "key": KEY, "model": "great-1", "retries": 0}
    with start(settings.with_values(upstream=section)) as server:
        answer = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "champion", "messages": ASKED, "stream": stream})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (502, "upstream_error", "upstream_failed")
    assert "start it or set url in [upstream]" in error["message"]
    for secret in (KEY, "passw0rd"):
        assert secret not in answer.text + caplog.text


def question(text: str = "hello") -> Question:
    message = Message(role="user", content=text)
    return Question((message,), Sampling(), sent={"model": "champion", "messages": [message.model_dump()]})


def backend(url: str, **more: Any) -> OpenAIUpstream:
    return build(UpstreamSettings(url=url, key=SecretStr(""), model="m", timeout=1, **more))


def test_a_transient_failure_is_tried_again(upstream: StandIn) -> None:
    upstream.failures = 2

    async def course() -> Answer:
        asked = backend(f"{upstream.url}/v1", retries=2)
        answer = await asked.complete(question())
        await asked.close()
        return answer

    assert asyncio.run(course()).text == "On Monday."
    assert len(upstream.asked) == 3


def test_a_server_that_asks_for_a_long_wait_is_not_tried_again(upstream: StandIn) -> None:
    upstream.mode = "busy"

    async def course() -> None:
        asked = backend(f"{upstream.url}/v1", retries=3)
        with pytest.raises(Overloaded) as busy:
            await asked.complete(question())
        assert busy.value.retry_after == 9
        await asked.close()

    asyncio.run(course())
    assert len(upstream.asked) == 1


def test_a_server_that_keeps_failing_is_not_asked_until_the_pause_is_over(upstream: StandIn) -> None:
    now = [100.0]
    upstream.mode = "broken"

    async def course() -> None:
        asked = backend(f"{upstream.url}/v1", retries=0)
        asked._connection._breaker = CircuitBreaker(3, 10, clock=lambda: now[0])
        for _ in range(3):
            with pytest.raises(UpstreamError):
                await asked.complete(question())
        with pytest.raises(Overloaded, match="has failed 3 times in a row; it is tried again in 10 s") as refused:
            await asked.complete(question())
        assert refused.value.retry_after == 10
        assert len(upstream.asked) == 3
        now[0] += 10
        with pytest.raises(UpstreamError):  # the trial
            await asked.complete(question())
        with pytest.raises(Overloaded):
            await asked.complete(question())
        now[0] += 10
        upstream.mode = "well"
        for _ in range(2):
            assert (await asked.complete(question())).text == "On Monday."
        await asked.close()

    asyncio.run(course())
    assert len(upstream.asked) == 6


def test_half_streams_open_the_circuit_too_and_a_stream_that_ends_well_keeps_its_connection(upstream: StandIn) -> None:
    async def course() -> None:
        asked = backend(f"{upstream.url}/v1", retries=0, breaker_failures=2)
        for _ in range(3):
            assert isinstance([item async for item in asked.stream(question())][-1], Answer)
        assert len(set(upstream.ports)) == 1
        upstream.mode = "breaks off"
        for _ in range(2):
            with pytest.raises(UpstreamError):
                _ = [item async for item in asked.stream(question())]
        with pytest.raises(Overloaded):
            await asked.complete(question())
        await asked.close()

    asyncio.run(course())


def test_a_second_upstream_writes_second_responses(start: Start, settings: Settings, upstream: StandIn) -> None:
    with running(StandIn(said=["At ", "noon."])) as other:
        values = settings.with_values(
            upstream={"url": f"{upstream.url}/v1", "model": "great-1"},
            second_upstream={"url": f"{other.url}/v1", "model": "other-1", "key": KEY},
        )
        with start(values) as server:
            answer = whole(server, max_tokens=9)
            pair = pair_with(server, ids_of(answer)["pair_id"])
            assert {(each.version, each.text) for each in (pair.a, pair.b)} == {("great-1", "On Monday."), ("other-1", "At noon.")}
            assert (pair.drawn, pair.probability) == ("upstream", 1.0)
            [asked] = other.asked
            assert asked == {"model": "other-1", "messages": ASKED, "max_tokens": 9}


def test_a_dead_second_upstream_costs_no_reply(start: Start, settings: Settings, upstream: StandIn) -> None:
    values = settings.with_values(
        upstream={"url": f"{upstream.url}/v1", "model": "great-1"},
        second_upstream={"url": "http://127.0.0.1:9/v1", "model": "other-1", "retries": 0},
    )
    with start(values) as server:
        assert [whole(server).choices[0].message.content for _ in range(3)] == ["On Monday."] * 3
        assert len(replies(server)) == 3
        assert server.events("feedback.pairs") == []


def test_the_key_is_not_shown_with_the_settings(settings: Settings) -> None:
    section = settings.with_values(upstream={"key": KEY}).section("upstream", UpstreamSettings)
    assert KEY not in repr(section) + str(section) + section.model_dump_json()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"url": "nonsense", "model": "m"}, "url in .upstream. is not a URL"),
        ({"url": "http://h/v1"}, "url is set but model is not"),
        ({"url": "http://h", "model": "m", "kind": "azure"}, "api_version is not"),
        ({"url": "http://h", "model": "m", "kind": "anthropic"}, "key is not"),
        ({"url": "http://h", "model": "m", "kind": "owl"}, "choose one of openai, azure, anthropic"),
    ],
)
def test_an_incomplete_upstream_section_is_a_configuration_error(settings: Settings, section: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        create_app(settings.with_values(upstream=section))


def test_a_proxy_from_the_environment_is_used_for_remote_upstreams_and_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(20)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)

        async def ask(url: str) -> None:
            asked = backend(url, retries=0)
            with pytest.raises(UpstreamError):
                await asked.complete(question())
            await asked.close()

        asyncio.run(ask("http://127.0.0.1:1/v1"))
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
        asyncio.run(ask("http://upstream.example/v1"))
        proxy.accept()[0].close()


@pytest.mark.parametrize(("name", "value"), [("SSL_CERT_FILE", "/nowhere/ca.pem"), ("ALL_PROXY", "gopher://ana:hush@proxy")])
def test_unusable_ca_or_proxy_variables_are_a_configuration_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"{name}.*; correct or unset it") as caught:
        backend("https://upstream.example/v1")
    assert "hush" not in str(caught.value)
    asyncio.run(backend("http://localhost:1/v1").close())


def test_a_message_about_the_second_upstream_names_its_section() -> None:
    with pytest.raises(ConfigurationError, match=r"^\[second_upstream\] url is set but model is not"):
        build(SecondUpstreamSettings(url="http://127.0.0.1:9/v1"))


def test_a_key_that_no_header_can_hold_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match=r"key in .upstream. has characters that no API key has") as caught:
        build(UpstreamSettings(url="http://127.0.0.1:9/v1", model="m", key=SecretStr("sk-\u201cquoted\u201d\n")))
    assert "quoted" not in str(caught.value)


def test_a_reply_that_filters_replace_is_an_incomplete_response(start: Start, settings: Settings, upstream: StandIn) -> None:
    upstream.said = ["Are you ", "married?"]
    body = {"model": "champion", "input": "Hello"}
    values = settings.with_values(upstream={"url": f"{upstream.url}/v1", "model": "great-1"}, safety={"conduct": "replace"})
    with start(values) as server:
        answer = httpx.post(f"{server.url}/v1/responses", json=body).json()
        assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
        with httpx.stream("POST", f"{server.url}/v1/responses", json=body | {"stream": True}) as stream:
            assert "response.incomplete" in "".join(stream.iter_text())


class Peer(threading.Thread):
    """A server of one connection: answers its request with ``said``, a part each tenth of a second, and keeps what was asked."""

    def __init__(self, *said: bytes) -> None:
        super().__init__(daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.asked = b""
        self._said = said

    def run(self) -> None:
        connection, _ = self._listening.accept()
        with connection, self._listening:
            connection.settimeout(20)
            while b"\r\n\r\n" not in self.asked:
                self.asked += connection.recv(65536)
            for part in self._said:
                connection.sendall(part)
                threading.Event().wait(0.1)


REFUSED = b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_gets_its_own_credentials_and_not_the_key(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    proxy = Peer(REFUSED)
    proxy.start()
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{scheme}_proxy".upper(), f"ana:hush@127.0.0.1:{proxy.port}")

    async def course() -> None:
        asked = build(UpstreamSettings(url=f"{scheme}://upstream.example/v1", key=SecretStr(KEY), model="m", timeout=5, retries=0))
        with pytest.raises(UpstreamError) as caught:
            await asked.complete(question())
        assert "hush" not in str(caught.value)
        await asked.close()

    asyncio.run(course())
    proxy.join(20)
    assert b"Proxy-Authorization: Basic YW5hOmh1c2g=" in proxy.asked
    assert (KEY.encode() in proxy.asked) == (scheme == "http")  # a request without TLS goes through the proxy as it is


def test_a_host_and_port_of_no_proxy_are_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    for bypassed, direct in (("upstream.example:8443", True), ("upstream.example:1", False), ("upstream.example", True)):
        monkeypatch.setenv("no_proxy", bypassed)
        found, _ = proxy_for(URL("http://upstream.example:8443/v1"))
        assert (found is None) == direct


@pytest.mark.parametrize("head", [b"200 OK\r\nContent-Type: text/event-stream", b"500 Oh\r\nContent-Type: text/plain"])
def test_a_reply_whose_chunks_are_spoilt_ends_with_an_error(head: bytes) -> None:
    event = b'data: {"choices": [{"index": 0, "delta": {"content": "On"}}]}\n\n'
    peer = Peer(
        b"HTTP/1.1 " + head + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(event), event), b"upstream timed out\r\n"
    )
    peer.start()

    async def course() -> None:
        asked = build(UpstreamSettings(url=f"http://127.0.0.1:{peer.port}/v1", model="m", timeout=1, retries=0))
        async with asyncio.timeout(20):
            with pytest.raises(UpstreamError):
                _ = [item async for item in asked.stream(question())]
        await asked.close()

    asyncio.run(course())
    peer.join(20)


def test_no_error_quotes_what_the_server_sent() -> None:
    peer = Peer(b"HTTP/1.1 Are you married?\r\nSet-Cookie: secret=1\r\n\r\n")
    peer.start()

    async def course() -> None:
        asked = build(UpstreamSettings(url=f"http://127.0.0.1:{peer.port}/v1", model="m", timeout=1, retries=0))
        with pytest.raises(UpstreamError, match="its answer is not valid HTTP"):
            await asked.complete(question())
        await asked.close()

    asyncio.run(course())
    peer.join(20)
