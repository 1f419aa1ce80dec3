"""Backend for any server that speaks OpenAI's chat protocol; streams are passed through chunk by chunk.

The API key is sent in one header and appears nowhere else: upstream error messages are passed on with the key redacted.
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

PROXY_AND_CA_VARS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
CLIENT_ERRORS = (400, 413, 422)  # the client's request is at fault, not the upstream


def build(section: ServingSettings) -> "UpstreamBackend":
    """Build the backend from the settings.

    Raises
    ------
    ConfigurationError
        ``upstream_model`` is missing, or ``upstream_url`` is not a usable URL.
    """
    if not section.upstream_model:
        raise ConfigurationError("[serving] upstream_url is set but upstream_model is not; name the model to request")
    return UpstreamBackend(
        url=section.upstream_url, key=section.upstream_key, model=section.upstream_model, timeout=section.upstream_timeout
    )


class UpstreamBackend:
    """The ``Backend`` for the server at ``url`` (including ``/v1``)."""

    def __init__(self, *, url: str, key: SecretStr, model: str, timeout: float, width: int = 4) -> None:
        self.width = width
        self._model = model
        self._key = key
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key.get_secret_value() else {}
        self._url, self._shown = _parse_url(url)
        try:
            self._client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
                limits=httpx.Limits(max_connections=256, max_keepalive_connections=64),
                trust_env=not is_loopback(self._url.host),  # proxies and CAs from the environment apply to other hosts only
            )
        except (OSError, ValueError) as error:
            named = [name for name in PROXY_AND_CA_VARS if os.environ.get(name)]
            raise ConfigurationError(
                f"the CA or proxy settings in {', '.join(named) or 'the environment'} cannot be used for the upstream"
                f" ({_reason(error)}); correct or unset it"
            ) from error

    def why_not_ready(self) -> str | None:
        return None

    def names(self) -> tuple[str, ...]:
        return (self._model, *ALIASES)

    async def complete(self, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
        async with self._request(prompt, sampling, stream=False) as answer:
            body = self._json(await answer.aread())
        choice = _first_choice(body)
        text = _text(choice.get("message"))
        return self._reply(text, choice.get("finish_reason"), body.get("usage"))

    async def stream(self, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
        text, reason, usage = "", None, None
        async with self._request(prompt, sampling, stream=True) as answer:
            if "text/event-stream" not in answer.headers.get("content-type", ""):
                raise self._bad_response()
            async for line in answer.aiter_lines():
                if not line.startswith("data:"):
                    continue
                data = line.removeprefix("data:").strip()
                if data == "[DONE]":
                    break
                chunk = self._json(data)
                if "error" in chunk:
                    raise UpstreamError(self._redact(f"the upstream server aborted the stream: {chunk['error']}"))
                usage = chunk.get("usage") or usage
                for choice in chunk.get("choices") or ():
                    piece = _text(choice.get("delta"))
                    text, reason = text + piece, choice.get("finish_reason") or reason
                    if piece:
                        yield piece
        if reason is None:
            raise UpstreamError("the upstream server closed the stream before the end of the reply")
        yield self._reply(text, reason, usage)

    async def close(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def _request(self, prompt: Sequence[Message], sampling: Sampling, *, stream: bool) -> AsyncIterator[httpx.Response]:
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
            why = self._redact(str(error) or type(error).__name__)
            raise UpstreamError(
                f"the upstream server {self._shown} does not answer ({why}); start it or set upstream_url in [serving]"
            ) from error

    def _failure(self, answer: httpx.Response) -> Exception:
        status = answer.status_code
        if status in (401, 403):  # these responses may echo parts of the key
            return UpstreamError(f"the upstream server rejects the API key ({status}); set upstream_key in [serving] or .env")
        message = self._redact(_error_message(answer))
        if status in (429, 503):
            wait = answer.headers.get("retry-after", "")
            return Overloaded(f"the upstream server is busy ({status}): {message}", retry_after=int(wait) if wait.isdigit() else 5)
        if status in CLIENT_ERRORS:
            return InputRefused(f"the upstream server rejects the request ({status}): {message}", "messages")
        return UpstreamError(f"the upstream server failed ({status}): {message}")

    def _reply(self, text: str, reason: str | None, usage: dict[str, Any] | None) -> Reply:
        if len(text) > MAX_TEXT:
            raise UpstreamError(f"the upstream server's reply has {len(text):,} characters; the maximum is {MAX_TEXT:,}")
        counts = usage or {}
        return Reply(text, self._model, reason or "stop", int(counts.get("prompt_tokens") or 0), int(counts.get("completion_tokens") or 0))

    def _json(self, data: bytes | str) -> dict[str, Any]:
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise self._bad_response() from error
        if not isinstance(body, dict):
            raise self._bad_response()
        return body

    def _bad_response(self) -> UpstreamError:
        return UpstreamError(f"the upstream server {self._shown} did not respond in OpenAI's format; check upstream_url")

    def _redact(self, text: str) -> str:
        key = self._key.get_secret_value()
        return (text.replace(key, "***") if key else text)[:500]


def _parse_url(url: str) -> tuple[httpx.URL, str]:
    """The request URL, and the same without credentials and query, for messages."""
    try:
        parsed = httpx.URL(f"{url.rstrip('/')}/chat/completions")
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"upstream_url is not a URL ({error}); use the form https://host/v1") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError("upstream_url is not a URL; use the form https://host/v1")
    return parsed, str(parsed.copy_with(userinfo=b"", query=None))


def _reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None  # other messages may contain a proxy URL with its password
    return reason or type(error).__name__


def _first_choice(body: dict[str, Any]) -> dict[str, Any]:
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise UpstreamError("the upstream server's response has no choices")
    return choices[0]


def _text(message: dict[str, Any] | None) -> str:
    """The content of a message or delta, without NUL characters, which events do not accept."""
    return str((message or {}).get("content") or "").replace("\x00", "")


def _error_message(answer: httpx.Response) -> str:
    """The error message in the response, on one line."""
    try:
        error = orjson.loads(answer.content).get("error", {})
        message = error.get("message", "") if isinstance(error, dict) else str(error)
    except (orjson.JSONDecodeError, AttributeError):
        message = answer.text
    return " ".join(str(message).split()) or "no reason given"
