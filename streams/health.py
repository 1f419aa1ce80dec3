"""Liveness, readiness and metrics of a process, and checks of the address that it listens on.

Serving and the hub include the router in their own app; processor and trainer, which serve nothing else, run it in a thread.
"""

import errno
import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from storage.errors import ConfigurationError, PortInUse
from streams.http.errors import KINDS, answer_errors
from streams.http.request_guard import RequestGuard
from streams.http.server import server_config
from streams.http.visible_text import without_paths

Check = Callable[[], str | None]  # None: ready; else the reason why not


def health_router(checks: Mapping[str, Check], explained: Callable[[Request], bool] = lambda _request: True) -> APIRouter:
    """``/healthz`` answers 200 while the process is alive; ``/readyz`` answers 503 until all checks pass, with the reasons for whom
    ``explained`` holds."""
    router = APIRouter()

    @router.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", include_in_schema=False)
    async def readyz(request: Request) -> JSONResponse:
        reasons = {name: without_paths(reason) for name, check in checks.items() if (reason := check()) is not None}
        told = {"reasons": reasons} if explained(request) else {}
        return JSONResponse({"ready": not reasons, **told}, status_code=503 if reasons else 200)

    return router


def metrics_router() -> APIRouter:
    """``/metrics``: see :mod:`streams.metrics`."""
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    def metrics() -> Response:  # in a worker thread: a gauge may ask the log
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router


def check_address(host: str, port: int) -> None:
    """Raise if the process must not or cannot listen on the address. Port 0 means any free port.

    Raises
    ------
    ConfigurationError
        The host is not this machine's loopback.
    PortInUse
        Another program listens there.
    """
    listen(host, port).close()


def listen(host: str, port: int, *, exposed: bool = False) -> socket.socket:
    """A bound socket at the address, checked as by :func:`check_address`; for ``uvicorn.Server.run(sockets=[…])``.

    ``exposed``: the process authenticates its callers and may listen beyond this machine.
    """
    if not exposed and not is_loopback(host):
        raise ConfigurationError(
            f'host = {host!r}: refusing to listen beyond this machine; serving and the hub may, with [access] mode = "required" and either '
            'tls_certificate and tls_key or behind_proxy; otherwise use host = "127.0.0.1"'
        )
    # asyncio sends small writes at once (TCP_NODELAY) only where the protocol is given; without, many responses take 40 ms longer
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(1024)  # at once: two sockets with SO_REUSEADDR may both bind, but only one may listen
    except (OSError, OverflowError) as error:
        bound.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortInUse(f"port {port} on {host} is in use by another program; stop it or set another port") from error
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {error}") from error
    return bound


class HealthServer:
    """Serves the health routes on their own address, in a thread."""

    def __init__(self, checks: Mapping[str, Check], host: str, port: int, allowed_hosts: Sequence[str] = ()) -> None:
        app = FastAPI(openapi_url=None)
        app.include_router(health_router(checks))
        app.include_router(metrics_router())
        answer_errors(app, KINDS)
        app.add_middleware(RequestGuard, allowed_hosts=allowed_hosts)
        self._socket = listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = uvicorn.Server(server_config(app, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="health", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._socket.close()


def is_loopback(host: str) -> bool:
    """Whether ``host`` is a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
