"""An OpenAI-compatible upstream behind the chat API: pass-through, and every way it can fail."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from openai import Stream
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import SecretStr

from serving.models.openai import UpstreamBackend
from serving.responses import event
from storage.errors import ConfigurationError, UpstreamError
from storage.events import Message, PairDrawn, ReplySent, Sampling
from storage.settings import Settings
from tests.serving.conftest import Server, Start, StartApp, ids_of

KEY = "sk-very-secret-0123456789"
ASKED = [{"role": "user", "content": "when is the interview ?"}]
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


@dataclass
class Upstream:
    """A fake upstream that answers according to ``mode`` and records its requests."""

    url: str = ""
    mode: str = "well"
    said: list[str] = field(default_factory=lambda: ["On ", "Monday", "."])
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def answer(request: Request) -> Response:
            body = await request.json()
            self.asked.append(body)
            self.keys.append(request.headers.get("authorization", ""))
            refusals = {"refuse": 400, "unauthorized": 401, "busy": 429, "broken": 500}
            if self.mode in refusals:
                error = {"error": {"message": f"no, not with {KEY}", "type": "x", "param": None, "code": None}}
                return JSONResponse(error, refusals[self.mode], headers={"Retry-After": "9"})
            if self.mode == "nonsense":
                return Response("<html>welcome</html>", media_type="text/html")
            if self.mode == "silent":
                await asyncio.sleep(2)
            if body.get("stream"):
                return StreamingResponse(self._stream(), media_type="text/event-stream")
            texts = self.said if not body.get("seed") else [*self.said, str(body["seed"])]
            choice = {"index": 0, "message": {"role": "assistant", "content": "".join(texts)}, "finish_reason": "stop"}
            return JSONResponse({"id": "1", "object": "chat.completion", "choices": [choice], "usage": USAGE})

        return app

    async def _stream(self) -> AsyncIterator[bytes]:
        yield b": a comment\n\n"
        for piece in self.said:
            yield event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
            if self.mode == "breaks off":
                return
        yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
        yield event({"choices": [], "usage": USAGE})
        yield b"data: [DONE]\n\n"


@pytest.fixture
def upstream(start_app: StartApp) -> Iterator[Upstream]:
    server = Upstream()
    with start_app(server.app()) as url:
        server.url = url
        yield server


@pytest.fixture
def through(start: Start, settings: Settings, upstream: Upstream) -> Iterator[Server]:
    section = {"upstream_url": f"{upstream.url}/v1/", "upstream_key": KEY, "upstream_model": "great-1", "upstream_timeout": 1.0}
    with start(settings.with_values(serving=section)) as server:
        yield server


def ask(server: Server, **more: Any) -> ChatCompletion | Stream[ChatCompletionChunk]:
    return server.ask(**{"model": "champion", "messages": ASKED} | more)


def streamed(server: Server, **more: Any) -> list[ChatCompletionChunk]:
    return server.streamed(**{"model": "champion", "messages": ASKED} | more)


def test_a_reply_comes_through_with_its_counts_and_is_logged_under_the_upstreams_model(through: Server, upstream: Upstream) -> None:
    answer = through.whole(model="champion", messages=ASKED, temperature=0.5, top_p=0.9, max_tokens=7, stop=["!"], user="Ada")
    assert (answer.choices[0].message.content, answer.model) == ("On Monday.", "great-1")
    assert answer.usage is not None
    assert answer.usage.model_dump(include=set(USAGE)) == USAGE
    assert upstream.asked[0] == {
        "model": "great-1", "messages": ASKED, "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": ["!"],
    }  # fmt: skip
    assert upstream.keys[0] == f"Bearer {KEY}"
    [reply] = through.events("chat.replies")
    assert isinstance(reply, ReplySent)
    assert (reply.reply, reply.version) == ("On Monday.", "great-1")

    pair_id = ids_of(answer)["pair_id"]
    pair = through.wait_for("feedback.pairs", lambda event: isinstance(event, PairDrawn) and str(event.pair_id) == pair_id)
    assert isinstance(pair, PairDrawn)
    assert pair.b.text != pair.a.text
    assert (pair.a.text, pair.b.version) == ("On Monday.", "great-1")


def test_a_stream_comes_through_piece_by_piece(through: Server, upstream: Upstream) -> None:
    chunks = streamed(through, stream_options={"include_usage": True})
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert pieces == upstream.said
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.model_dump(include=set(USAGE)) == USAGE
    [reply] = through.events("chat.replies")
    assert isinstance(reply, ReplySent)
    assert reply.reply == "".join(upstream.said)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("mode", "status", "words"),
    [
        ("unauthorized", 502, "rejects the API key"),
        ("broken", 502, "failed (500)"),
        ("nonsense", 502, "OpenAI's format"),
        ("silent", 502, "in time"),
        ("busy", 503, "busy (429)"),
        ("refuse", 400, "rejects the request (400): no, not with ***"),
    ],
)
def test_an_upstream_failure_has_its_status_and_never_shows_the_key(
    through: Server, upstream: Upstream, caplog: pytest.LogCaptureFixture, mode: str, status: int, words: str, stream: bool
) -> None:
    upstream.mode = mode
    caplog.set_level(logging.DEBUG)
    with pytest.raises(openai.APIStatusError) as failure:
        list(ask(through, stream=stream))
    assert failure.value.status_code == status
    assert failure.value.response.headers.get("Retry-After") == ("9" if mode == "busy" else None)
    assert words in str(failure.value)
    assert KEY not in str(failure.value)
    assert KEY not in caplog.text
    assert through.events("chat.replies") == []


def test_an_upstream_stream_that_breaks_off_is_an_error_and_is_not_logged(through: Server, upstream: Upstream) -> None:
    upstream.mode = "breaks off"
    with pytest.raises(openai.APIError, match="before the end of the reply"):
        streamed(through)
    assert through.events("chat.replies") == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_upstream_is_a_502_that_says_what_to_do(
    start: Start, settings: Settings, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    section = {"upstream_url": "http://user:passw0rd@127.0.0.1:9/v1", "upstream_key": KEY, "upstream_model": "great-1"}
    with start(settings.with_values(serving=section)) as server:
        answer = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "champion", "messages": ASKED, "stream": stream})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (502, "upstream_error", "upstream_failed")
    assert "start it or set upstream_url" in error["message"]
    for secret in (KEY, "passw0rd"):
        assert secret not in answer.text + caplog.text


def test_the_key_is_not_shown_with_the_settings(settings: Settings) -> None:
    from serving.settings import ServingSettings

    section = settings.with_values(serving={"upstream_key": KEY}).section("serving", ServingSettings)
    assert KEY not in repr(section) + str(section) + section.model_dump_json()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"upstream_url": "nonsense", "upstream_model": "m"}, "upstream_url is not a URL"),
        ({"upstream_url": "http://h/v1"}, "upstream_model"),
    ],
)
def test_an_incomplete_upstream_section_is_a_configuration_error(settings: Settings, section: dict[str, str], words: str) -> None:
    from serving.app import create_app

    with pytest.raises(ConfigurationError, match=words):
        create_app(settings.with_values(serving=section))


def backend(url: str) -> UpstreamBackend:
    return UpstreamBackend(url=url, key=SecretStr(""), model="m", timeout=1)


def test_a_proxy_from_the_environment_is_used_for_remote_upstreams_and_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.settimeout(20)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)

        async def ask(url: str) -> None:
            asked = backend(url)
            with pytest.raises(UpstreamError):
                await asked.complete([Message(role="user", content="hello")], Sampling(temperature=1, top_p=1, max_tokens=1))
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
