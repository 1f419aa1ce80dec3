"""The HTTP connection to an upstream server: time-outs, retries, circuit breaker, and its failures as exceptions of ours.

The API key is sent in one header and appears nowhere else: messages of the server are passed on with the key redacted.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import orjson
from pydantic import SecretStr

from serving.models.circuit_breaker import CircuitBreaker
from serving.models.upstream_address import UpstreamAddress
from serving.models.upstream_errors import failure_of, redacted, seconds, why
from serving.models.upstream_settings import UpstreamSettings
from storage.errors import ConfigurationError, FeedbackLoopError, InputRefused, UpstreamError

log = logging.getLogger(__name__)

TRANSIENT = (408, 409, 429, 500, 502, 503, 504, 529)
FIRST_WAIT, LONGEST_WAIT = 0.2, 4.0  # seconds before a retry; a server that asks for a longer wait is not retried
MAX_CONNECTIONS = 1024
MAX_HEADER = 65_536  # bytes
DRAIN = 0.05  # seconds for the end of a stream after its last event


class Connection:
    """POST requests to one URL of an upstream.

    Parameters
    ----------
    url : where requests go, with the path
    headers : of each request, the one with the key among them
    """

    def __init__(self, url: str, headers: Mapping[str, str], settings: UpstreamSettings) -> None:
        self._settings = settings
        self._address = UpstreamAddress.of(url, settings.section)
        self.shown = self._address.shown
        self._key: SecretStr = settings.key
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            raise ConfigurationError(f"key in [{settings.section}] has characters that no API key has; copy it again")
        self._headers = {"Content-Type": "application/json", **headers}
        if self._address.authorization:
            self._headers["Authorization"] = self._address.authorization
        self._proxy_headers: dict[str, str] = {}
        if self._address.proxy_authorization:  # through a tunnel the proxy reads only the request that opens it
            to_proxy = self._proxy_headers if self._address.url.scheme == "https" else self._headers
            to_proxy["Proxy-Authorization"] = self._address.proxy_authorization
        self._retries = settings.retries
        self._breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_seconds)
        self._timeout = aiohttp.ClientTimeout(
            connect=settings.timeout, sock_connect=min(settings.timeout, settings.connect_timeout), sock_read=settings.timeout
        )
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
        return redacted(text, self._key.get_secret_value())

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
                        self._address.url,
                        data=content,
                        headers=self._headers,  # the session's own headers would go to the proxy too, the key among them
                        proxy=self._address.proxy,
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
                asked = seconds(answer.headers.get("retry-after", ""))
                failure = failure_of(answer.status, given, asked, self._key.get_secret_value(), self._settings.section)
                transient = answer.status in TRANSIENT
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
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=self._address.tls),
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
        return UpstreamError(
            f"the upstream server {self.shown} does not answer ({why(error)}); start it or set url in [{self._settings.section}]"
        )

    async def _read_error(self, answer: aiohttp.ClientResponse) -> bytes:
        try:
            return await self.read(answer)
        except (aiohttp.ClientError, OSError):
            log.info("the upstream's error response broke off")
            return b""
        finally:
            answer.close()


def _data(line: bytes) -> bytes:
    return line[5:].strip() if line.startswith(b"data:") else b""
