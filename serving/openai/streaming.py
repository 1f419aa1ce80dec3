"""Server-sent events: the first part of an answer decides the HTTP status, and an error after it becomes the last event."""

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from serving import responses
from serving.openai.exchange import Exchange
from storage.errors import FeedbackLoopError
from streams.http.errors import FAILED, SERVER, error_body, refusal
from streams.http.visible_text import one_line

log = logging.getLogger(__name__)


async def opened(exchange: Exchange) -> tuple[Any, AsyncIterator[Any]]:
    """The first item of the stream and the rest; an error before the first one still sets the status."""
    rest = exchange.stream()
    return await anext(rest), rest


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
