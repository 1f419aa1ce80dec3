"""The HTTP connection to an upstream server: time-outs, retries, circuit breaker, and its failures as exceptions of ours.

The API key is sent in one header and appears nowhere else: messages of the server are passed on with the key redacted.
"""

import asyncio
import logging
import math
import os
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.request import getproxies_environment, proxy_bypass

import aiohttp
import httpx
import orjson
from pydantic import SecretStr
from yarl import URL

from serving.models.circuit_breaker import CircuitBreaker
from serving.models.upstream_settings import UpstreamSettings
from serving.requests import FieldRefused
from storage.errors import ConfigurationError, FeedbackLoopError, InputRefused, Overloaded, QueueFull, UpstreamError
from streams.health import is_loopback

log = logging.getLogger(__name__)

PROXY_AND_CA_VARS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
CLIENT_ERRORS = (400, 413, 422)  # the client's request is at fault, not the upstream
TRANSIENT = (408, 409, 429, 500, 502, 503, 504, 529)
FIRST_WAIT, LONGEST_WAIT = 0.2, 4.0  # seconds before a retry; a server that asks for a longer wait is not retried
MAX_CONNECTIONS = 1024
MAX_HEADER = 65_536  # bytes
DRAIN = 0.05  # seconds for the end of a stream after its last event

_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?")
_CODE = re.compile(r"[a-z0-9_]{1,64}")


class Connection:
    """POST requests to one URL of an upstream.

    Parameters
    ----------
    url : where requests go, with the path
    headers : of each request, the one with the key among them
    """

    def __init__(self, url: str, headers: Mapping[str, str], settings: UpstreamSettings) -> None:
        self._settings = settings
        parsed = _parsed(url, settings.section)
        self.shown = str(parsed.copy_with(userinfo=b"", query=None))
        self._key: SecretStr = settings.key
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise ConfigurationError(f"key in [{settings.section}] has characters that no API key has; copy it again")
        self._headers = {"Content-Type": "application/json", **headers}
        self._proxy_headers: dict[str, str] = {}
        try:
            if parsed.userinfo:
                self._headers["Authorization"] = aiohttp.encode_basic_auth(parsed.username, parsed.password)
            self._url = URL(str(parsed.copy_with(userinfo=b"")), encoded=True)
        except ValueError as error:
            raise _not_a_url(settings.section) from error
        self._retries = settings.retries
        self._breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_seconds)
        self._timeout = aiohttp.ClientTimeout(
            connect=settings.timeout, sock_connect=min(settings.timeout, settings.connect_timeout), sock_read=settings.timeout
        )
        remote = not is_loopback(parsed.host)  # proxies and CAs from the environment apply to other hosts only
        try:
            self._tls = httpx.create_ssl_context(trust_env=remote) if parsed.scheme == "https" else True
            self._proxy, authorization = _proxy(self._url) if remote else (None, None)
        except (OSError, ValueError) as error:
            named = [name for name in PROXY_AND_CA_VARS if os.environ.get(name)]
            raise ConfigurationError(
                f"the CA or proxy settings in {', '.join(named) or 'the environment'} cannot be used for the upstream"
                f" ({_reason(error)}); correct or unset it"
            ) from error
        if authorization:  # through a tunnel the proxy reads only the request that opens it
            to_proxy = self._proxy_headers if parsed.scheme == "https" else self._headers
            to_proxy["Proxy-Authorization"] = authorization
        self._client: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def post(self, body: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to ``body``, which has succeeded; its content is not read yet.

        Raises
        ------
        InputRefused
            The server refuses the request.
        QueueFull, Overloaded
            It is busy, or has failed so often that it is not asked now.
        UpstreamError
            It does not answer, fails, or rejects the key.
        """
        answer = await self._open(body)
        try:
            yield answer
        except (aiohttp.ClientError, OSError) as error:
            self._breaker.failed()
            raise self._unreachable(error) from error
        except UpstreamError:
            self._breaker.failed()
            raise
        else:
            self._breaker.succeeded()
        finally:
            answer.close()  # the connection is kept if all has been read

    async def parts(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The content as it arrives; raises ``TimeoutError`` if nothing does in time.

        aiohttp's own limit is not enough: after a chunk that is not well formed its reader is never woken again.
        """
        while True:
            async with asyncio.timeout(self._settings.timeout):
                part = await response.content.readany()
            if not part:
                return
            yield part

    async def read(self, response: aiohttp.ClientResponse) -> bytes:
        """The whole content."""
        return b"".join([part async for part in self.parts(response)])

    async def events(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The data of each server-sent event of a stream; comments, other fields and empty events are left out."""
        if "text/event-stream" not in response.headers.get("content-type", ""):
            raise self.bad_response()
        rest = b""
        async for part in self.parts(response):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                if data := _data(line):
                    yield data
        if data := _data(rest):
            yield data

    async def finish(self, events: AsyncIterator[bytes]) -> None:
        """Read to the end of a stream whose last event has come, so that its connection can be used again; not for long."""
        with suppress(OSError, aiohttp.ClientError):
            async with asyncio.timeout(DRAIN):
                async for _ in events:
                    pass

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def redact(self, text: str) -> str:
        """The text without the key, cut to 500 characters."""
        key = self._key.get_secret_value()
        return (text.replace(key, "***") if key else text)[:500]

    def loads(self, data: bytes | str) -> dict[str, Any]:
        """A JSON object of the server."""
        try:
            body = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise self.bad_response() from error
        if not isinstance(body, dict):
            raise self.bad_response()
        return body

    def bad_response(self) -> UpstreamError:
        return UpstreamError(
            f"the upstream server {self.shown} did not respond in the expected format; check url and kind in [{self._settings.section}]"
        )

    async def _open(self, body: Mapping[str, Any]) -> aiohttp.ClientResponse:
        """Send the request, again after a transient failure; the wait doubles, with jitter, and heeds ``Retry-After``."""
        try:
            content = orjson.dumps(body)
        except TypeError as error:
            raise InputRefused(f"body: cannot be sent to the upstream server ({error})", "body") from error
        self._breaker.check(f"the upstream server {self.shown}")
        for attempt in range(self._retries + 1):
            wait = random.uniform(0.5, 1.5) * FIRST_WAIT * 2**attempt
            failure: FeedbackLoopError
            try:
                async with asyncio.timeout(self._settings.connect_timeout + self._settings.timeout):
                    answer = await self._session().post(
                        self._url,
                        data=content,
                        headers=self._headers,  # the session's own headers would go to the proxy too, the key among them
                        proxy=self._proxy,
                        proxy_headers=self._proxy_headers,
                        allow_redirects=False,
                    )
            except (aiohttp.ClientError, OSError) as error:
                self._breaker.failed()
                failure = self._unreachable(error)
                transient = isinstance(error, aiohttp.ConnectionTimeoutError) or not isinstance(error, TimeoutError | aiohttp.InvalidURL)
            else:
                if answer.ok and answer.status < 300:
                    return answer  # whether it is a success is known at its end
                given = await self._read_error(answer)
                if answer.status >= 500:
                    self._breaker.failed()
                else:
                    self._breaker.succeeded()
                failure, transient = self._failure(answer, given), answer.status in TRANSIENT
                asked = _seconds(answer.headers.get("retry-after", ""))
                wait = wait if asked is None else max(wait, asked)
            if not transient or attempt == self._retries or wait > LONGEST_WAIT or self._breaker.is_open:
                raise failure
            log.info("%s; attempt %d of %d follows in %.1f s", failure, attempt + 2, self._retries + 1, wait)
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt has raised")

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:  # it belongs to the event loop in which it is made
            self._client = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=self._tls),
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=MAX_HEADER,
                max_field_size=MAX_HEADER,
                max_headers=1000,
            )
        return self._client

    def _unreachable(self, error: Exception) -> UpstreamError:
        if isinstance(error, TimeoutError):
            return UpstreamError(
                f"the upstream server {self.shown} did not answer in time; try again, or raise timeout in [{self._settings.section}]"
            )
        why = _why(error)
        return UpstreamError(f"the upstream server {self.shown} does not answer ({why}); start it or set url in [{self._settings.section}]")

    async def _read_error(self, answer: aiohttp.ClientResponse) -> bytes:
        try:
            return await self.read(answer)
        except (aiohttp.ClientError, OSError):
            log.info("the upstream's error response broke off")
            return b""
        finally:
            answer.close()

    def _failure(self, answer: aiohttp.ClientResponse, content: bytes) -> FeedbackLoopError:
        status = answer.status
        if status in (401, 403):  # these responses may echo parts of the key
            return UpstreamError(f"the upstream server rejects the API key ({status}); set key in [{self._settings.section}] or .env")
        error = _error_of(content)
        message = self.redact(_error_message(error))
        busy = f"the upstream server is busy ({status}): {message}"
        wait = _seconds(answer.headers.get("retry-after", ""))
        if status == 429:
            return QueueFull(busy, retry_after=5 if wait is None else wait)
        if status in (503, 529):
            return Overloaded(busy, retry_after=5 if wait is None else wait)
        if status in CLIENT_ERRORS:
            return FieldRefused(f"the upstream server rejects the request ({status}): {message}", *_field_and_code(error))
        return UpstreamError(f"the upstream server failed ({status}): {message}")


def _parsed(url: str, section: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise _not_a_url(section) from error
    if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < (parsed.port or 80) < 65536:
        raise _not_a_url(section)
    return parsed


def _not_a_url(section: str) -> ConfigurationError:
    return ConfigurationError(f"url in [{section}] is not a URL; use the form https://host/v1")


def _proxy(url: URL) -> tuple[URL | None, str | None]:
    """The proxy for ``url`` that the environment names, and its ``Proxy-Authorization``; aiohttp itself does not read ``ALL_PROXY``."""
    named = getproxies_environment()
    proxy = named.get(url.scheme) or named.get("all")
    if not proxy or proxy_bypass(url.host or "") or proxy_bypass(f"{url.host}:{url.port}"):
        return None, None
    found = URL(proxy if "://" in proxy else f"http://{proxy}")
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError("not a proxy of HTTP")
    authorization = aiohttp.encode_basic_auth(found.user or "", found.password or "") if found.user or found.password else None
    return found.with_user(None), authorization


def _why(error: Exception) -> str:
    """Why a request failed, in words of ours: aiohttp's messages quote addresses with passwords, headers and what the server sent."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"its proxy refuses with {error.status}"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not valid"
        case aiohttp.ClientConnectorError():
            return _reason(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection"
        case aiohttp.ClientPayloadError():
            return "its answer broke off"
        case aiohttp.ClientResponseError():
            return "its answer is not valid HTTP"
    return _reason(error)


def _reason(error: Exception) -> str:
    """The system's reason, or the kind of the error."""
    reason = error.strerror if isinstance(error, OSError) else None  # other messages may contain a proxy URL with its password
    return reason or type(error).__name__


def _seconds(retry_after: str) -> int | None:
    return math.ceil(float(retry_after)) if _SECONDS.fullmatch(retry_after) else None


def _data(line: bytes) -> bytes:
    return line[5:].strip() if line.startswith(b"data:") else b""


def _error_of(content: bytes) -> dict[str, Any]:
    try:
        error = orjson.loads(content).get("error", {})
    except (orjson.JSONDecodeError, AttributeError):
        return {"message": content.decode("utf-8", "replace")}
    return error if isinstance(error, dict) else {"message": str(error)}


def _error_message(error: Mapping[str, Any]) -> str:
    """The message of an error response, on one line."""
    return " ".join(str(error.get("message") or "").split()) or "no reason given"


def _field_and_code(error: Mapping[str, Any]) -> tuple[str, str]:
    """The field at fault and the code of the error, if the server names them."""
    field, code = error.get("param"), error.get("code")
    return (
        field[:100] if isinstance(field, str) and field else "messages",
        code if isinstance(code, str) and _CODE.fullmatch(code) else "invalid_value",
    )
