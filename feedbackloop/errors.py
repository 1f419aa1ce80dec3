"""Errors of the client."""

from pydantic import BaseModel, Field

TEMPORARY = (429, 502, 503, 504)  # statuses of a server, or of a proxy before it, that cannot answer now


class APIError(Exception):
    """The server refused a request or failed.

    Attributes
    ----------
    status : HTTP status code; 0 if there was no response
    code, param : error code and request field at fault, if the server names them
    retry_after : seconds to wait before a retry, from ``Retry-After``; None if the header is absent
    """

    def __init__(
        self, message: str, *, status: int = 0, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (0, *TEMPORARY)


class SpoolError(Exception):
    """The spool cannot be read or written. The feedback of this call was not recorded."""


class SpoolFull(SpoolError):
    """The spool has reached its limit. The feedback of this call was not recorded."""


class ErrorBody(BaseModel):
    """Error body of serving and of the hub."""

    message: str
    code: str | None = None
    param: str | None = None
    reasons: list[str] = Field(default_factory=list)
