"""What both clients hold and share: settings, connections, and the making of methods from functions that make calls."""

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, get_args
from urllib.parse import urlsplit

import httpx

from feedbackloop import delivery
from feedbackloop.calls.call import Call
from feedbackloop.delivery import Flow, Send

if TYPE_CHECKING:
    from feedbackloop.spool import Spool

LOOPBACK = ("127.0.0.1", "localhost", "::1")

Method = TypeVar("Method", bound=Callable[..., Any])
HTTP = TypeVar("HTTP", httpx.Client, httpx.AsyncClient)


class Connections(Generic[HTTP]):
    """Connections to serving and the hub, and how calls are delivered."""

    def __init__(
        self,
        make: Callable[..., HTTP],
        urls: Mapping[str, str],
        timeout: float,
        retries: int,
        spool: "Spool | str | os.PathLike[str] | None",
        api_key: str | None,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries: {retries} is negative")
        if isinstance(spool, str | os.PathLike):
            from feedbackloop.spool import Spool

            spool = Spool(spool)
        self._retries, self.spool = retries, spool
        self._settings: dict[str, Any] = {**urls, "timeout": timeout, "retries": retries, "spool": spool, "api_key": api_key}
        self._http: dict[str, HTTP] = {name: _http(make, url, timeout, api_key) for name, url in urls.items()}

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
        """The flow of ``flush``."""
        if self.spool is None:
            raise ValueError("flush: this client has no spool; give it one, as in Client(spool='feedback.spool')")
        return delivery.flush(self.spool, self._retries)


def described(method: Method, make: Callable[..., Call[Any]], *, skipped: int = 0) -> Method:
    """Give a method the name, docstring and signature of the function that makes its call, but for the first ``skipped`` parameters."""
    update_wrapper(method, make)
    signature = inspect.signature(make)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *list(signature.parameters.values())[skipped:]]
    [result] = get_args(signature.return_annotation)
    method.__signature__ = signature.replace(parameters=parameters, return_annotation=result)  # type: ignore[attr-defined]
    return method


def _http(make: Callable[..., HTTP], url: str, timeout: float, api_key: str | None) -> HTTP:
    """Ignore proxies from the environment for loopback addresses."""
    headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL such as http://127.0.0.1:8000")
    return make(base_url=url.rstrip("/"), timeout=timeout, headers=headers, trust_env=parts.hostname not in LOOPBACK)
