"""Every refusal of the hub's API in one shape, ``{"error": {"message", "type", "field", "reasons"}}``: never a page, never a traceback."""

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from dashboard.reviews import Conflict, NotFound
from storage.errors import ArtifactError, InputRefused, Overloaded


def install(app: FastAPI) -> None:
    """Answer the errors that somebody can act on; the rest stay 500 and are logged whole by the server."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")) or None
        words = "the body is no JSON object" if first["type"] in ("json_invalid", "model_attributes_type") else first["msg"]
        return refusal(
            400,
            "invalid_request",
            f"{field}: {words}" if field and first["type"] != "json_invalid" else words,
            field if first["type"] != "json_invalid" else None,
        )

    @app.exception_handler(InputRefused)
    async def refused(_request: Request, error: InputRefused) -> JSONResponse:
        return refusal(400, "invalid_request", str(error), error.field)

    @app.exception_handler(NotFound)
    async def not_found(_request: Request, error: NotFound) -> JSONResponse:
        return refusal(404, "not_found", str(error))

    @app.exception_handler(Conflict)
    async def conflict(_request: Request, error: Conflict) -> JSONResponse:
        return refusal(409, "conflict", str(error), reasons=error.reasons)

    @app.exception_handler(Overloaded)
    async def overloaded(_request: Request, error: Overloaded) -> JSONResponse:
        answer = refusal(503, "overloaded", str(error))
        answer.headers["Retry-After"] = str(error.retry_after)
        return answer

    @app.exception_handler(ArtifactError)
    async def artifact(_request: Request, error: ArtifactError) -> JSONResponse:
        return refusal(404, "not_found", str(error))


def refusal(status: int, kind: str, message: str, field: str | None = None, reasons: Sequence[str] = ()) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": kind, "field": field, "reasons": list(reasons)}}, status_code=status)
