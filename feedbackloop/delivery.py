"""How calls are delivered: retries, and the spool. Shared by both clients.

Each function is a flow in the manner of ``httpx.Auth.auth_flow``: a generator that yields steps, which a client performs in its own way,
and returns the result. A step's answer is sent into the generator, and its ``httpx.HTTPError`` or :class:`SpoolError` thrown into it.
"""

import json
import logging
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from feedbackloop.calls.call import Call, encoded
from feedbackloop.errors import APIError, SpoolError

if TYPE_CHECKING:
    from feedbackloop.spool import Spool, SpooledCall

log = logging.getLogger("feedbackloop")

FIRST_WAIT = 0.25  # seconds before the first retry, doubled with each further one, less up to half at random
MAX_WAIT = 8.0  # seconds; longer ones by Retry-After are not waited for
DRAIN_SECONDS = 1.0  # within which a call begins to send others that wait in the spool
DRAIN_TIMEOUT = 5.0  # seconds for each of these
POLL = 0.05  # seconds between looks at a spool that another process is sending
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)  # the request has not left
NO_VALID_KEY = 401  # the client's key is at fault, not the call: with another one it may be recorded
NOT_HANDLED = (429, 503)  # statuses that say that a request had no effect

Result = TypeVar("Result")


@dataclass(frozen=True)
class Send:
    """Send a request; the answer is a ``httpx.Response``. ``timeout`` in seconds, None for the client's."""

    call: Call[Any]
    timeout: float | None


@dataclass(frozen=True)
class Wait:
    """Sleep."""

    seconds: float


@dataclass(frozen=True)
class Work:
    """Call a function that reads or writes a file."""

    function: Callable[[], Any]


Flow = Generator[Send | Wait | Work, Any, Result]


@dataclass
class Drained:
    """What became of the calls in the spool.

    Attributes
    ----------
    sent : how many the server has recorded
    emptied : no call waits
    busy : another thread or process is sending them
    failure : why sending stopped
    """

    sent: int = 0
    emptied: bool = False
    busy: bool = False
    failure: APIError | None = None


def deliver(call: Call[Result], retries: int, spool: "Spool | None") -> Flow[Result]:
    """Send a call, or put it into the spool if it cannot be delivered; earlier calls of the spool go first.

    Raises
    ------
    APIError
        The server refused the call, or it cannot be delivered and is not one for the spool.
    SpoolError
        It can neither be delivered nor kept.
    """
    if spool is None or call.server == "hub":
        return (yield from _sent(call, retries))
    if call.spooled is None:
        result = yield from _sent(call, retries)
        yield from catch_up(spool)
        return result
    if (yield Work(spool.first)) is not None:
        done = yield from _drain(spool, 0, DRAIN_SECONDS, DRAIN_TIMEOUT)
        if not done.emptied:
            yield Work(partial(spool.append, call))
            if done.busy:  # the other one may have finished before this call was there
                yield from _drain(spool, 0, DRAIN_SECONDS, DRAIN_TIMEOUT)
            return call.spooled
    try:
        return (yield from _sent(call, retries))
    except APIError as error:
        if not error.temporary:
            raise
        log.info("kept in %s: %s", spool.path, error)
        yield Work(partial(spool.append, call))
        return call.spooled


def catch_up(spool: "Spool") -> Flow[None]:
    """Send what waits, for a second at most. Failures are logged only."""
    try:
        if (yield Work(spool.first)) is not None:
            yield from _drain(spool, 0, DRAIN_SECONDS, DRAIN_TIMEOUT)
    except SpoolError as error:
        log.warning("%s", error)


def flush(spool: "Spool", retries: int) -> Flow[int]:
    """Send everything that waits; return how many calls the server has recorded.

    Raises
    ------
    APIError
        The server cannot be reached, or does not take the client's key. What was not delivered stays.
    """
    sent = 0
    while True:
        done = yield from _drain(spool, retries, inf, None)
        sent += done.sent
        if done.failure is not None:
            raise done.failure
        if done.emptied:
            return sent
        yield Wait(POLL)


def _drain(spool: "Spool", retries: int, seconds: float, timeout: float | None) -> Flow[Drained]:
    """Send what waits in its order, until the server cannot be reached or ``seconds`` have passed. What it refuses is set aside.

    Where it refuses the client's key, everything stays.
    """
    done = Drained()
    deadline = monotonic() + seconds
    while (yield Work(spool.first)) is not None:  # again after the lock is free: another process may have added one and found it taken
        with spool.draining() as mine:
            if not mine:
                done.busy = True
                return done
            while (waiting := (yield Work(spool.first))) is not None:
                if done.sent and monotonic() > deadline:
                    return done
                try:
                    answer = yield from _sent(waiting.call, retries, timeout)
                except APIError as error:
                    if error.temporary or error.status == NO_VALID_KEY:
                        done.failure = error
                        return done
                    log.warning("%s was refused and is set aside in %s: %s", waiting.path, spool.path, error)
                    yield Work(partial(spool.set_aside, waiting, error))
                else:
                    done.sent += 1
                    yield Work(_settle(spool, waiting, answer))
    done.emptied = True
    return done


def _settle(spool: "Spool", sent: "SpooledCall", answer: dict[str, Any]) -> Callable[[], None]:
    """Remove a call that was recorded; of a bulk, keep the items that were refused."""
    refused = [result for result in answer.get("results", ()) if result["status"] == "refused"]
    if not refused:
        return partial(spool.forget, sent)
    body = encoded({"items": [sent.fields["items"][result["index"]] for result in refused]})
    error = APIError(json.dumps([result["error"] for result in refused]), status=207)
    return partial(spool.set_aside, sent, error, body)


def _sent(call: Call[Result], retries: int, timeout: float | None = None) -> Flow[Result]:
    """Send a call, and again after temporary failures; raises :class:`APIError`."""
    for attempt in count():
        try:
            return call.result((yield Send(call, timeout)))
        except httpx.HTTPError as error:
            failure = APIError(f"{error.request.url} does not answer: {error}")
            failure.__cause__ = error
            again = call.repeatable or isinstance(error, UNSENT)
        except APIError as error:
            failure = error
            again = error.temporary and (call.repeatable or error.status in NOT_HANDLED)
        wait = max(failure.retry_after or 0.0, min(MAX_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1))
        if not again or attempt >= retries or wait > MAX_WAIT:
            raise failure
        yield Wait(wait)
    raise AssertionError("unreachable")
