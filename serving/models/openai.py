"""Replies from any server that speaks OpenAI's chat protocol, with streaming passed through piece by piece.

The key goes into one header and nowhere else: what the server says of a failure is repeated only with the key struck out.
"""

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
from pydantic import SecretStr

from serving.models.backend import ALIASES
from serving.settings import ServingSettings
from storage.errors import ConfigurationError, InputRefused, Overloaded, UpstreamError
from storage.events import MAX_TEXT, Message, Sampling
from streams.health import is_loopback
from trainers.models.reply import Reply

log = logging.getLogger(__name__)

SURROUNDINGS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
REFUSALS = (400, 413, 422)  # what the client sent is at fault, not the server behind


def build(section: ServingSettings) -> "UpstreamBackend":
    """The backend of the table's row.

    Raises
    ------
    ConfigurationError
        The section names no model, or no usable address.
    """
    if not section.upstream_model:
        raise ConfigurationError("[serving] upstream_url is set and upstream_model is not; name the model to ask it for")
    return UpstreamBackend(
        url=section.upstream_url, key=section.upstream_key, model=section.upstream_model, timeout=section.upstream_timeout
    )


class UpstreamBackend:
    """The ``Backend`` on the server at ``url`` (with its ``/v1``)."""

    def __init__(self, *, url: str, key: SecretStr, model: str, timeout: float, width: int = 4) -> None:
        self.width = width
        self._model = model
        self._key = key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key.get_secret_value() else {}
        self._url, self._shown = _checked(url)
        try:
            self._client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
                limits=httpx.Limits(max_connections=256, max_keepalive_connections=64),
                trust_env=not is_loopback(self._url.host),  # proxies and authorities of the surroundings are for servers elsewhere
            )
        except (OSError, ValueError) as error:
            named = [name for name in SURROUNDINGS if os.environ.get(name)]
            raise ConfigurationError(
                f"the upstream cannot be asked with the authorities and proxies that {', '.join(named) or 'this machine'} names"
                f" ({_said(error)}); correct or unset it"
            ) from error

    def why_not_ready(self) -> str | None:
        return None

    def names(self) -> tuple[str, ...]:
        return (self._model, *ALIASES)

    async def complete(self, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
        async with self._asked(prompt, sampling, stream=False) as answer:
            body = self._json(await answer.aread())
        choice = _first_choice(body)
        text = _text(choice.get("message"))
        return self._reply(text, choice.get("finish_reason"), body.get("usage"))

    async def stream(self, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        text, reason, usage = "", None, None
        async with self._asked(prompt, sampling, stream=True) as answer:
            if "text/event-stream" not in answer.headers.get("content-type", ""):
                raise self._strange()
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    break
                chunk = self._json(data)
                if "error" in chunk:
                    raise UpstreamError(self._clean(f"the upstream server broke off: {chunk['error']}"))
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or ():
                    piece = _text(choice.get("delta"))
                    text, reason = text + piece, choice.get("finish_reason") or reason
                    if piece:
                        yield piece
        if reason is None:
            raise UpstreamError("the upstream server broke off in the middle of the reply")
        yield self._reply(text, reason, usage)

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def _asked(self, prompt: Sequence[Message], sampling: Sampling, *, stream: bool) -> AsyncIterator[httpx.Response]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in prompt],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            async with self._client.stream("POST", self._url, json=body) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise self._failure(answer)
                yield answer
        except httpx.TimeoutException as error:
            raise UpstreamError(
                f"the upstream server {self._shown} did not answer in time; try again, or raise upstream_timeout"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = self._clean(str(error) or type(error).__name__)
            raise UpstreamError(
                f"the upstream server {self._shown} does not answer ({why}); start it or set upstream_url in [serving]"
            ) from error

    def _failure(self, answer: httpx.Response) -> Exception:
        status = answer.status_code
        if status in (401, 403):  # such answers repeat parts of the key
            return UpstreamError(f"the upstream server refuses the key ({status}); set upstream_key in [serving] or .env")
        said = self._clean(_complaint(answer))
        if status in (429, 503):
            wait = answer.headers.get("retry-after", "")
            return Overloaded(f"the upstream server is busy ({status}): {said}", retry_after=int(wait) if wait.isdigit() else 5)
        if status in REFUSALS:
            return InputRefused(f"the upstream server refuses this ({status}): {said}", "messages")
        return UpstreamError(f"the upstream server failed ({status}): {said}")

    def _reply(self, text: str, reason: str | None, usage: dict[str, Any] | None) -> Reply:
        if len(text) > MAX_TEXT:
            raise UpstreamError(f"the upstream server's reply has {len(text):,} characters; at most {MAX_TEXT:,} are taken")
        counts = usage or {}
        return Reply(text, self._model, reason or "stop", int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0))

    def _json(self, data: bytes | str) -> dict[str, Any]:
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise self._strange() from error
        if not isinstance(body, dict):
            raise self._strange()
        return body

    def _strange(self) -> UpstreamError:
        return UpstreamError(f"the upstream server {self._shown} does not answer in OpenAI's form; is its address right?")

    def _clean(self, text: str) -> str:
        key = self._key.get_secret_value()
        return (text.replace(key, "***") if key else text)[:500]


def _checked(url: str) -> tuple[httpx.URL, str]:
    """The address to ask, and how it may be shown: without a user's name and password."""
    try:
        asked = httpx.URL(f"{url.rstrip('/')}/chat/completions")
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"upstream_url is no address ({error}); give one like https://host/v1") from error
    if asked.scheme not in ("http", "https") or not asked.host:
        raise ConfigurationError("upstream_url is no address; give one like https://host/v1")
    return asked, str(asked.copy_with(userinfo=b"", query=None))


def _said(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) else None  # a proxy's address may hold a password
    return said or type(error).__name__


def _first_choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UpstreamError("the upstream server's answer holds no choice")
    return choices[0]


def _text(message: dict[str, Any] | None) -> str:
    """The words of a message or delta, without the character that no store of text accepts."""
    return str((message or {}).get("content") or "").replace("\x00", "")


def _complaint(answer: httpx.Response) -> str:
    """What the server says was wrong, on one line."""
    try:
        error = orjson.loads(answer.content).get("error", {})
        said = error.get("message", "") if isinstance(error, dict) else str(error)
    except (orjson.JSONDecodeError, AttributeError):
        said = answer.text
    return " ".join(str(said).split()) or "no reason given"
