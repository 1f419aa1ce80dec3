"""Upstreams that speak OpenAI's chat protocol. A request goes on as the client sent it; only the model's name is ours."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from serving.models.backend import Answer, Choice, Delta, Question
from serving.models.connection import Connection
from serving.models.upstream import UpstreamBackend, mapping, require, text_of
from serving.models.upstream_settings import UpstreamSettings
from storage.errors import UpstreamError

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


class OpenAIUpstream(UpstreamBackend):
    """The ``Backend`` for servers of OpenAI's protocol."""

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        async with self._connection.post(self._body(question, stream=False)) as response:
            body = self._connection.loads(await self._connection.read(response))
            given = sorted(_choices(body), key=_index)
            if not given:
                raise self._aborted(body["error"]) if body.get("error") else UpstreamError("the upstream server's response has no choices")
        return self._answer([self._choice(each) for each in given], body.get("usage"), body)

    async def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        states: dict[int, _Streamed] = {}
        usage: Mapping[str, Any] | None = None
        about: dict[str, Any] = {}
        done = False
        async with self._connection.post(self._body(question, stream=True)) as response:
            events = self._connection.events(response)
            async for data in events:
                if data == b"[DONE]":
                    done = True
                    await self._connection.finish(events)
                    break
                chunk = self._connection.loads(data)
                if chunk.get("error"):
                    raise self._aborted(chunk["error"])
                usage = chunk.get("usage") or usage
                about |= {name: chunk[name] for name in BODY_FIELDS if chunk.get(name) is not None}
                for each in _choices(chunk):
                    index = _index(each)
                    state = states.setdefault(index, _Streamed())
                    if delta := state.add(each):
                        yield Delta(delta, index, each.get("logprobs"))
            if not states or not (done or all(state.reason for state in states.values())):
                raise UpstreamError("the upstream server closed the stream before the end of the reply")
        yield self._answer([states[index].choice() for index in sorted(states)], usage, about)

    def _body(self, question: Question, *, stream: bool) -> dict[str, Any]:
        body = {name: value for name, value in question.sent.items() if name not in ("stream", "stream_options")} | {
            "model": self._settings.model
        }
        if isinstance(metadata := body.get("metadata"), Mapping):
            body["metadata"] = {key: value for key, value in metadata.items() if key not in OURS}
            if not body["metadata"]:
                del body["metadata"]
        if self._settings.token_field:
            given = [value for name in LIMITS if (value := body.pop(name, None)) is not None]
            if given:
                body[self._settings.token_field] = given[-1]
        if stream:
            body["stream"] = True
            if question.sent.get("stream_options") is not None:
                body["stream_options"] = question.sent["stream_options"]
        return body

    def _choice(self, given: Mapping[str, Any]) -> Choice:
        message = mapping(given.get("message"))
        more = {name: value for name, value in message.items() if name not in ("role", "content") and value is not None}
        return Choice(text_of(message.get("content")), str(given.get("finish_reason") or "stop"), more, given.get("logprobs"))

    def _answer(self, choices: list[Choice], usage: Mapping[str, Any] | None, body: Mapping[str, Any]) -> Answer:
        counts = {name: count for name, count in mapping(usage).items() if isinstance(count, int | dict)}
        return self._answered(choices, counts, {name: body[name] for name in BODY_FIELDS if body.get(name) is not None})


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
        if "tool_calls" in found:
            calls = found["tool_calls"] if isinstance(found["tool_calls"], list) else []
            found["tool_calls"] = [self._add_call(call) for call in calls if isinstance(call, Mapping)]
        for name in ("reasoning_content", "refusal"):
            if isinstance(found.get(name), str):
                self._more[name] = self._more.get(name, "") + found[name]
        return found

    def _add_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Take a part of a tool call; return it with the place of the call, which some servers leave out or send as 0 for each."""
        place, own_id = call.get("index"), call.get("id")
        if not isinstance(place, int):
            place = len(self._calls) if own_id else max(0, len(self._calls) - 1)
        elif own_id and self._calls.get(place, {"id": own_id})["id"] not in ("", own_id):
            place = next((at for at, known in self._calls.items() if known["id"] == own_id), max(self._calls) + 1)
        known = self._calls.setdefault(place, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        known["id"] = own_id or known["id"]
        function = mapping(call.get("function"))
        for name in ("name", "arguments"):
            if isinstance(part := function.get(name), str):
                known["function"][name] += part
        return {**call, "index": place}

    def choice(self) -> Choice:
        calls = {"tool_calls": [self._calls[index] for index in sorted(self._calls)]} if self._calls else {}
        return Choice(self.text, self.reason or ("tool_calls" if calls else "stop"), self._more | calls)


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _choices(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = body.get("choices")
    return [each for each in choices if isinstance(each, Mapping)] if isinstance(choices, list) else []
