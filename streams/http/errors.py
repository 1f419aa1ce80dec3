"""Error responses in OpenAI's format, the same on every port.

``{"error": {"message", "type", "param", "code"}}``, with ``"reasons"`` if there are several. ``type`` distinguishes client and server
errors, ``code`` names the error, ``param`` the part of the request.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from storage.errors import FeedbackLoopError, InputRefused, NotAllowed, Overloaded
from streams.http.visible_text import one_line, without_paths

CLIENT = "invalid_request_error"
SERVER = "server_error"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
FAILED = "internal error; see the server's log"


class ErrorDetail(BaseModel):
    """The error and its reasons."""

    message: str
    type: str
    param: str | None
    code: str | None
    reasons: list[str] | None = None  # only where there are several


class ErrorAnswer(BaseModel):
    """The body of every 4xx and 5xx response."""

    error: ErrorDetail


RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before a retry.", "schema": {"type": "integer", "minimum": 0}}}
DOCUMENTED: dict[int | str, dict[str, Any]] = {  # "4XX" also keeps FastAPI from documenting its own 422, which is never returned
    "4XX": {
        "model": ErrorAnswer,
        "description": "Refused: `message` says why, `param` names the part of the request.",
        "headers": RETRY_AFTER,
    },
    "5XX": {"model": ErrorAnswer, "description": "Server error; retry if `Retry-After` is set.", "headers": RETRY_AFTER},
}


@dataclass(frozen=True)
class Kind:
    """How an exception class is reported. ``own_files``: its message may contain paths of this machine."""

    status: int
    code: str
    type: str = CLIENT
    own_files: bool = False


Kinds = Mapping[type[FeedbackLoopError], Kind]

KINDS: Kinds = {
    InputRefused: Kind(400, "invalid_value"),
    NotAllowed: Kind(403, "not_allowed"),
    Overloaded: Kind(503, "overloaded", SERVER, own_files=True),
}


def error_body(
    message: str, kind: str, *, param: str | None = None, code: str | None = None, reasons: Sequence[str] = ()
) -> dict[str, Any]:
    body: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
    return {"error": body | ({"reasons": list(reasons)} if reasons else {})}


def refusal(error: FeedbackLoopError, kinds: Kinds = KINDS) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers for an error; an error without a row in the table becomes a 500 without details.

    Attributes of the error override those of its kind: ``status``, ``code``, ``field``, ``reasons``, ``retry_after`` (seconds).
    """
    kind = next((kinds[each] for each in type(error).__mro__ if each in kinds), None)
    if kind is None:
        return 500, error_body(FAILED, SERVER), {}
    message = str(error)
    body = error_body(
        without_paths(message) if kind.own_files else message,
        kind.type,
        param=getattr(error, "field", None),
        code=getattr(error, "code", kind.code),
        reasons=getattr(error, "reasons", ()),
    )
    wait = getattr(error, "retry_after", 1 if kind.status == 503 else None)
    return getattr(error, "status", kind.status), body, {} if wait is None else {"Retry-After": str(wait)}


def answer_errors(app: FastAPI, kinds: Kinds) -> None:
    """Install handlers that report expected errors, including the framework's, in this format.

    Other exceptions reach :class:`streams.http.request_guard.RequestGuard`, which logs the traceback and answers 500.
    """

    @app.exception_handler(FeedbackLoopError)
    async def feedbackloop_error(_request: Request, error: FeedbackLoopError) -> Response:
        status, body, headers = refusal(error, kinds)
        if status == 500:
            raise error
        return JSONResponse(body, status, headers)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")) or None
        if first["type"] in ("json_invalid", "model_attributes_type"):
            return JSONResponse(error_body("the body is not a JSON object", CLIENT, code="invalid_json"), 400)
        message = f"{field}: {first['msg']}" if field else str(first["msg"])
        return JSONResponse(error_body(message, CLIENT, param=field, code="invalid_value"), 400)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {one_line(request.scope['path'])}: {error.detail}"
        code = "not_found" if error.status_code == 404 else None
        headers = dict(error.headers or {})
        if error.status_code == 405:  # Starlette names the methods of the first route only
            headers["Allow"] = ", ".join(allowed_methods(request.scope))
        return JSONResponse(error_body(message, CLIENT, code=code), error.status_code, headers)


class NoSuchRoute(Route):
    """Answers 404 for all paths below ``prefix`` that none of ``known`` has, and 405 for methods that they do not have."""

    def __init__(self, prefix: str, known: Sequence[BaseRoute]) -> None:
        super().__init__(f"{prefix}/{{rest:path}}", _no_such_route, methods=list(METHODS))
        self.known = known


def allowed_methods(scope: Scope) -> list[str]:
    """The methods that routes of the app have for the path of a request."""
    routes: Sequence[BaseRoute] = scope["app"].router.routes
    for route in routes:
        if isinstance(route, NoSuchRoute) and route.matches(scope)[0] is Match.FULL:
            routes = route.known
    return [method for method in METHODS if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)]


def _no_such_route(request: Request) -> Response:
    if allowed_methods(request.scope):
        raise HTTPException(405)
    raise HTTPException(404, "there is no such route; /openapi.json lists the routes")
