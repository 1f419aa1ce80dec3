"""HTTP clients for a running loop: chat, feedback on replies, and the hub's status. They need only httpx and pydantic, not the server.

A method is one of the functions in :mod:`feedbackloop.calls`, which make the request; both clients send it by the flows of
:mod:`feedbackloop.delivery`.
"""

import asyncio
import inspect
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import partial, update_wrapper
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, get_args
from urllib.parse import urlsplit

import httpx

from feedbackloop import delivery
from feedbackloop.calls import chat as chat_api
from feedbackloop.calls import feedback, hub, outcomes
from feedbackloop.calls.call import Call, error_of
from feedbackloop.delivery import Flow, Send, Wait, Work
from feedbackloop.errors import APIError as APIError
from feedbackloop.errors import SpoolError
from feedbackloop.receipts import ChatReply as ChatReply

if TYPE_CHECKING:
    from feedbackloop.spool import Spool

LOOPBACK = ("127.0.0.1", "localhost", "::1")

P = ParamSpec("P")
Result = TypeVar("Result")
Method = TypeVar("Method", bound=Callable[..., Any])
HTTP = TypeVar("HTTP", httpx.Client, httpx.AsyncClient)


def _method(make: Callable[P, Call[Result]]) -> "Callable[Concatenate[Client, P], Result]":
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self.send(make(*args, **kwargs))

    return described(method, make)


def _async_method(make: Callable[P, Call[Result]]) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, Result]]":
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return await self.send(make(*args, **kwargs))

    return described(method, make)


def described(method: Method, make: Callable[..., Call[Any]], *, skipped: int = 0) -> Method:
    """Give a method the name, docstring and signature of the function that makes its call, but for the first ``skipped`` parameters."""
    update_wrapper(method, make)
    signature = inspect.signature(make)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *list(signature.parameters.values())[skipped:]]
    [result] = get_args(signature.return_annotation)
    method.__signature__ = signature.replace(parameters=parameters, return_annotation=result)  # type: ignore[attr-defined]
    return method


class _Connections(Generic[HTTP]):
    """What both clients hold."""

    def __init__(
        self,
        make: Callable[..., HTTP],
        urls: Mapping[str, str],
        timeout: float,
        retries: int,
        spool: "Spool | str | os.PathLike[str] | None",
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries: {retries} is negative")
        if isinstance(spool, str | os.PathLike):
            from feedbackloop.spool import Spool

            spool = Spool(spool)
        self._retries, self.spool = retries, spool
        self._settings: dict[str, Any] = {**urls, "timeout": timeout, "retries": retries, "spool": spool}
        self._http: dict[str, HTTP] = {name: _http(make, url, timeout) for name, url in urls.items()}

    def __reduce__(self) -> Any:
        kind: Any = type(self)
        return partial(kind, **self._settings), ()  # another client with the same settings

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def _request(self, step: Send) -> tuple[HTTP, dict[str, Any]]:
        """The connections to the server of a call, and the arguments of ``request``."""
        call = step.call
        more = {} if step.timeout is None else {"timeout": step.timeout}
        return self._http[call.server], {"method": call.method, "url": call.path, "content": call.body, "headers": call.headers} | more

    def _flush(self) -> Flow[int]:
        if self.spool is None:
            raise ValueError("flush: this client has no spool; give it one, as in Client(spool='feedback.spool')")
        return delivery.flush(self.spool, self._retries)


class Client(_Connections[httpx.Client]):
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
    ) -> None:
        super().__init__(httpx.Client, {"serving": serving, "hub": hub}, timeout, retries, spool)

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


class AsyncClient(_Connections[httpx.AsyncClient]):
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
    ) -> None:
        super().__init__(httpx.AsyncClient, {"serving": serving, "hub": hub}, timeout, retries, spool)

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


def _http(make: Callable[..., HTTP], url: str, timeout: float) -> HTTP:
    """Ignore proxies from the environment for loopback addresses."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL such as http://127.0.0.1:8000")
    return make(base_url=url.rstrip("/"), timeout=timeout, trust_env=parts.hostname not in LOOPBACK)
