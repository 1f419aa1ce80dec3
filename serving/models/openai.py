"""Upstreams that speak OpenAI's chat protocol. A request goes on as the client sent it; only the model's name is ours."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from serving.models.backend import ALIASES, Answer, Choice, Delta, Question
from serving.models.connection import Connection
from serving.models.upstream_settings import UpstreamSettings
from storage.errors import ConfigurationError, UpstreamError
from storage.events import MAX_TEXT

OURS = ("conversation_id", "feedback")  # keys of ``metadata`` that this service reads
LIMITS = ("max_tokens", "max_completion_tokens")
BODY_FIELDS = ("system_fingerprint", "service_tier")  # of a response, which are passed on


def build(settings: UpstreamSettings) -> "OpenAIUpstream":
    """Build the backend for any server with ``/chat/completions``."""
    require(settings)
    key = settings.key.get_secret_value()
    url = f"{settings.url.rstrip('/')}/chat/completions"
    return OpenAIUpstream(Connection(url, {"Authorization": f"Bearer {key}"} if key else {}, settings), settings)


def build_azure(settings: UpstreamSettings) -> "OpenAIUpstream":
    """Build the backend for a deployment of Azure OpenAI."""
    require(settings, "api_version")
    url = f"{settings.url.rstrip('/')}/openai/deployments/{settings.model}/chat/completions?api-version={settings.api_version}"
    return OpenAIUpstream(Connection(url, {"api-key": settings.key.get_secret_value()}, settings), settings)


def require(settings: UpstreamSettings, *more: str) -> None:
    """Raise :class:`ConfigurationError` for a missing key of the section."""
    for name in ("model", *more):
        if not getattr(settings, name):
            raise ConfigurationError(f"[upstream] url is set but {name} is not; set it for kind = {settings.kind!r}")


class OpenAIUpstream:
    """The ``Backend`` for the server behind ``connection``."""

    honoured: frozenset[str] | None = None

    def __init__(self, connection: Connection, settings: UpstreamSettings, width: int = 4) -> None:
        self.width = width
        self._model, self._token_field = settings.model, settings.token_field
        self._connection = connection

    def why_not_ready(self) -> str | None:
        return None

    def names(self) -> tuple[str, ...]:
        return (self._model, *ALIASES)

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        async with self._connection.post(self._body(question, stream=False)) as response:
            body = self._connection.loads(await response.aread())
        choices = [self._choice(each) for each in _choices(body)]
        if not choices:
            raise UpstreamError("the upstream server's response has no choices")
        return self._answer(choices, body.get("usage"), body)

    async def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        states: dict[int, _Streamed] = {}
        usage: Mapping[str, Any] | None = None
        about: dict[str, Any] = {}
        done = False
        async with self._connection.post(self._body(question, stream=True)) as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                raise self._connection.bad_response()
            async for line in response.aiter_lines():
                if not line.startswith("data:"):
                    continue  # a comment that keeps the connection alive, an empty line, or another field of the event
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    done = True
                    break
                if not data:
                    continue
                chunk = self._connection.loads(data)
                if chunk.get("error"):
                    raise UpstreamError(self._connection.redact(f"the upstream server aborted the stream: {chunk['error']}"))
                usage = chunk.get("usage") or usage
                about |= {name: chunk[name] for name in BODY_FIELDS if chunk.get(name) is not None}
                for each in _choices(chunk):
                    index = each.get("index") or 0
                    state = states.setdefault(index, _Streamed())
                    if delta := state.add(each):
                        yield Delta(delta, index, each.get("logprobs"))
        if not states or not (done or all(state.reason for state in states.values())):
            raise UpstreamError("the upstream server closed the stream before the end of the reply")
        yield self._answer([states[index].choice() for index in sorted(states)], usage, about)

    async def close(self) -> None:
        await self._connection.close()

    def _body(self, question: Question, *, stream: bool) -> dict[str, Any]:
        body = {name: value for name, value in question.sent.items() if name not in ("stream", "stream_options")} | {"model": self._model}
        if isinstance(metadata := body.get("metadata"), Mapping):
            body["metadata"] = {key: value for key, value in metadata.items() if key not in OURS}
            if not body["metadata"]:
                del body["metadata"]
        if self._token_field:
            given = [value for name in LIMITS if (value := body.pop(name, None)) is not None]
            if given:
                body[self._token_field] = given[-1]
        if stream:
            body["stream"] = True
            if question.sent.get("stream_options") is not None:
                body["stream_options"] = question.sent["stream_options"]
        return body

    def _choice(self, given: Mapping[str, Any]) -> Choice:
        message = given.get("message")
        if not isinstance(message, Mapping):
            message = {}
        more = {name: value for name, value in message.items() if name not in ("role", "content") and value is not None}
        return Choice(text_of(message.get("content")), str(given.get("finish_reason") or "stop"), more, given.get("logprobs"))

    def _answer(self, choices: list[Choice], usage: Mapping[str, Any] | None, body: Mapping[str, Any]) -> Answer:
        if any(len(choice.text) > MAX_TEXT for choice in choices):
            raise UpstreamError(f"the upstream server's reply has more than {MAX_TEXT:,} characters")
        counts = dict(usage) if isinstance(usage, Mapping) else {}
        return Answer(self._model, choices, counts, {name: body[name] for name in BODY_FIELDS if body.get(name) is not None})


class _Streamed:
    """What has arrived of one choice."""

    def __init__(self) -> None:
        self.text, self.reason = "", ""
        self._more: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        """Take a chunk's choice; return its delta with the content as text."""
        self.reason = str(choice.get("finish_reason") or self.reason)
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return {}
        found = {name: value for name, value in delta.items() if value is not None}
        if "content" in found:
            found["content"] = text_of(found["content"])
            self.text += found["content"]
            if not found["content"] and len(found) == 1:
                return {}
        for call in found.get("tool_calls") or ():
            known = self._calls.setdefault(
                call.get("index") or 0, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            )
            known["id"] = call.get("id") or known["id"]
            for name, part in (call.get("function") or {}).items():
                known["function"][name] = known["function"].get(name, "") + (part or "")
        for name in ("reasoning_content", "refusal"):
            if isinstance(found.get(name), str):
                self._more[name] = self._more.get(name, "") + found[name]
        return found

    def choice(self) -> Choice:
        calls = {"tool_calls": [self._calls[index] for index in sorted(self._calls)]} if self._calls else {}
        return Choice(self.text, self.reason or "stop", self._more | calls)


def text_of(content: Any) -> str:
    """The text of a message's content, which may be a list of parts; thinking is left out, and NUL, which events do not accept."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") in ("text", "output_text"))
        content = "".join(text for text in parts if isinstance(text, str))
    return content.replace("\x00", "") if isinstance(content, str) else ""


def _choices(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = body.get("choices")
    return [each for each in choices if isinstance(each, Mapping)] if isinstance(choices, list) else []
