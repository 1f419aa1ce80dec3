"""HTTP clients for a running loop: chat, feedback on replies, and the hub's status. They need only httpx and pydantic, not the server.

A method is one of the functions in :mod:`feedbackloop.calls`, which make the request; both clients send it by the flows of
:mod:`feedbackloop.delivery`.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from feedbackloop import delivery
from feedbackloop.calls import chat as chat_api
from feedbackloop.calls import feedback, hub, outcomes, widget
from feedbackloop.calls.call import Call, error_of
from feedbackloop.connections import Connections, described
from feedbackloop.delivery import Flow, Send, Wait, Work
from feedbackloop.errors import APIError as APIError
from feedbackloop.errors import SpoolError
from feedbackloop.receipts import ChatReply as ChatReply

if TYPE_CHECKING:
    from feedbackloop.spool import Spool

P = ParamSpec("P")
Result = TypeVar("Result")


def _method(make: Callable[P, Call[Result]]) -> "Callable[Concatenate[Client, P], Result]":
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self.send(make(*args, **kwargs))

    return described(method, make)


def _async_method(make: Callable[P, Call[Result]]) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Result]]":
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await self.send(make(*args, **kwargs))

    return described(method, make)


class Client(Connections[httpx.Client]):
    """Client for serving and the hub. It may be used by several threads.

    Every method may raise :class:`APIError`. Of several judgments by one recruiter on one pair, and of several thumbs and scores of one
    reply, the last holds. Requests that record something carry an idempotency key, so that a retry is recorded once. With an
    ``idempotency_key`` of your own (such as a UUID) you can also repeat the method.

    Parameters
    ----------
    serving, hub : base URLs, without ``/v1``
    timeout : seconds to wait for a response
    retries : maximum number of retries after failures that are temporary
    spool : file for feedback that cannot be delivered, sent later in its order; its receipts say ``spooled=True``. Or a :class:`Spool`
    api_key : the key that `feedbackloop keys create` printed, where the service asks for one

    Attributes
    ----------
    spool : the :class:`Spool`, or None
    """

    def __init__(
        self,
        serving: str = "http://127.0.0.1:8000",
        hub: str = "http://127.0.0.1:8050",
        *,
        timeout: float = 60.0,
        retries: int = 2,
        spool: "Spool | str | os.PathLike[str] | None" = None,
        api_key: str | None = None,
    ) -> None:
        super().__init__(httpx.Client, {"serving": serving, "hub": hub}, timeout, retries, spool, api_key)

    def __enter__(self) -> Self:
        if self.spool is not None:
            self._run(delivery.catch_up(self.spool))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for http in self._http.values():
            http.close()

    chat = _method(chat_api.chat)
    models = _method(chat_api.models)
    add_pair = _method(feedback.add_pair)
    judge = _method(feedback.judge)
    rate = _method(feedback.rate)
    score = _method(feedback.score)
    comment = _method(feedback.comment)
    withdraw = _method(feedback.withdraw)
    edit = _method(feedback.edit)
    rewrite = _method(feedback.rewrite)
    bulk = _method(feedback.bulk)
    record_groups = _method(outcomes.record_groups)
    record_outcome = _method(outcomes.record_outcome)
    widget_token = _method(widget.widget_token)
    status = _method(hub.status)
    runs = _method(hub.runs)
    versions = _method(hub.versions)

    def export(self) -> Iterator[dict[str, Any]]:
        """Stream the preference records in the format that training reads."""
        with self._http["hub"].stream("GET", "/v1/export") as answer:
            if not answer.is_success:
                answer.read()
                raise error_of(answer)
            for line in answer.iter_lines():
                if line:
                    yield json.loads(line)

    def flush(self) -> int:
        """Send everything that waits in the spool; return how many calls were recorded.

        Raises :class:`APIError` if the server cannot be reached. What it refuses is in ``spool.refused()``.
        """
        return self._run(self._flush())

    def send(self, call: Call[Result]) -> Result:
        """Send a call of :mod:`feedbackloop.calls`."""
        return self._run(delivery.deliver(call, self._retries, self.spool))

    def _run(self, flow: Flow[Result]) -> Result:
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._perform(step)
                except (httpx.HTTPError, SpoolError) as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            flow.close()

    def _perform(self, step: Send | Wait | Work) -> Any:
        match step:
            case Send():
                http, request = self._request(step)
                return http.request(**request)
            case Wait():
                return time.sleep(step.seconds)
            case Work():
                return step.function()


class AsyncClient(Connections[httpx.AsyncClient]):
    __doc__ = (
        (Client.__doc__ or "").replace("Client for serving", "Asynchronous client for serving").replace("several threads", "several tasks")
    )

    def __init__(
        self,
        serving: str = "http://127.0.0.1:8000",
        hub: str = "http://127.0.0.1:8050",
        *,
        timeout: float = 60.0,
        retries: int = 2,
        spool: "Spool | str | os.PathLike[str] | None" = None,
        api_key: str | None = None,
    ) -> None:
        super().__init__(httpx.AsyncClient, {"serving": serving, "hub": hub}, timeout, retries, spool, api_key)

    async def __aenter__(self) -> Self:
        if self.spool is not None:
            await self._run(delivery.catch_up(self.spool))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        for http in self._http.values():
            await http.aclose()

    chat = _async_method(chat_api.chat)
    models = _async_method(chat_api.models)
    add_pair = _async_method(feedback.add_pair)
    judge = _async_method(feedback.judge)
    rate = _async_method(feedback.rate)
    score = _async_method(feedback.score)
    comment = _async_method(feedback.comment)
    withdraw = _async_method(feedback.withdraw)
    edit = _async_method(feedback.edit)
    rewrite = _async_method(feedback.rewrite)
    bulk = _async_method(feedback.bulk)
    record_groups = _async_method(outcomes.record_groups)
    record_outcome = _async_method(outcomes.record_outcome)
    widget_token = _async_method(widget.widget_token)
    status = _async_method(hub.status)
    runs = _async_method(hub.runs)
    versions = _async_method(hub.versions)

    async def export(self) -> AsyncIterator[dict[str, Any]]:
        """Stream the preference records in the format that training reads."""
        async with self._http["hub"].stream("GET", "/v1/export") as answer:
            if not answer.is_success:
                await answer.aread()
                raise error_of(answer)
            async for line in answer.aiter_lines():
                if line:
                    yield json.loads(line)

    async def flush(self) -> int:
        """Send everything that waits in the spool; return how many calls were recorded.

        Raises :class:`APIError` if the server cannot be reached. What it refuses is in ``spool.refused()``.
        """
        return await self._run(self._flush())

    async def send(self, call: Call[Result]) -> Result:
        """Send a call of :mod:`feedbackloop.calls`."""
        return await self._run(delivery.deliver(call, self._retries, self.spool))

    async def _run(self, flow: Flow[Result]) -> Result:
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._perform(step)
                except (httpx.HTTPError, SpoolError) as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            flow.close()

    async def _perform(self, step: Send | Wait | Work) -> Any:
        match step:
            case Send():
                http, request = self._request(step)
                return await http.request(**request)
            case Wait():
                return await asyncio.sleep(step.seconds)
            case Work():
                return await asyncio.to_thread(step.function)
