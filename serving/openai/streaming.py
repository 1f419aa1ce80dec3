"""Sending answers: events whose first part decides the HTTP status, and an end to the work when the client has gone."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from serving import responses
from serving.openai.exchange import Exchange
from storage.errors import FeedbackLoopError
from streams.http.errors import FAILED, SERVER, error_body, refusal
from streams.http.visible_text import one_line

log = logging.getLogger(__name__)


Result = TypeVar("Result")


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of ``work``, which is cancelled when the client disconnects, so that nothing is generated for nobody.

    Raises
    ------
    ClientDisconnect
        The client has gone.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def opened(request: Request, exchange: Exchange) -> tuple[Any, AsyncIterator[Any]]:
    """The first item of the stream and the rest; an error before the first one still sets the status."""
    rest = exchange.stream()
    return await unless_gone(request, anext(rest)), rest


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def sse(events: AsyncIterator[bytes], error_event: Callable[[dict[str, Any]], bytes] = responses.event) -> AsyncIterator[bytes]:
    """The events; a failure is logged and becomes one event with an error body."""
    try:
        async for event in events:
            yield event
    except FeedbackLoopError as error:
        status, body, _ = refusal(error, responses.REFUSALS)
        log.warning("stream aborted with status %d: %s", status, one_line(str(error)))
        yield error_event(body)
    except Exception:
        log.exception("stream aborted")
        yield error_event(error_body(FAILED, SERVER))
