"""What an upstream's failures are called: its error responses, and connections that break, as exceptions of ours."""

import math
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from serving.requests import FieldRefused
from storage.errors import FeedbackLoopError, Overloaded, QueueFull, UpstreamError

CLIENT_ERRORS = (400, 413, 422)  # the client's request is at fault, not the upstream

_SECONDS = re.compile(r"\d{1,6}(\.\d{1,6})?")
_CODE = re.compile(r"[a-z0-9_]{1,64}")


def failure_of(status: int, content: bytes, retry_after: int | None, key: str, section: str) -> FeedbackLoopError:
    """The exception for an error response.

    Parameters
    ----------
    content : its body
    retry_after : seconds that the server asks to wait
    key : the API key, which the message must not contain
    section : the settings in which the key is set
    """
    if status in (401, 403):  # these responses may echo parts of the key
        return UpstreamError(f"the upstream server rejects the API key ({status}); set key in [{section}] or .env")
    error = _error_of(content)
    message = redacted(" ".join(str(error.get("message") or "").split()) or "no reason given", key)
    if status == 429:
        return QueueFull(f"the upstream server is busy ({status}): {message}", retry_after=5 if retry_after is None else retry_after)
    if status in (503, 529):
        return Overloaded(f"the upstream server is busy ({status}): {message}", retry_after=5 if retry_after is None else retry_after)
    if status in CLIENT_ERRORS:
        return FieldRefused(f"the upstream server rejects the request ({status}): {message}", *_field_and_code(error))
    return UpstreamError(f"the upstream server failed ({status}): {message}")


def redacted(text: str, key: str) -> str:
    """The text without the key, cut to 500 characters."""
    return (text.replace(key, "***") if key else text)[:500]


def seconds(retry_after: str) -> int | None:
    """The whole seconds of a ``Retry-After`` header; None for a date or anything else."""
    return math.ceil(float(retry_after)) if _SECONDS.fullmatch(retry_after) else None


def why(error: Exception) -> str:
    """Why a request failed, in words of ours: aiohttp's messages quote addresses with passwords, headers and what the server sent."""
    match error:
        case aiohttp.ClientHttpProxyError():
            return f"its proxy refuses with {error.status}"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not valid"
        case aiohttp.ClientConnectorError():
            return reason(error.os_error)
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection"
        case aiohttp.ClientPayloadError():
            return "its answer broke off"
        case aiohttp.ClientResponseError():
            return "its answer is not valid HTTP"
    return reason(error)


def reason(error: Exception) -> str:
    """The system's reason, or the kind of the error."""
    said = error.strerror if isinstance(error, OSError) else None  # other messages may contain a proxy URL with its password
    return said or type(error).__name__


def _error_of(content: bytes) -> dict[str, Any]:
    try:
        error = orjson.loads(content).get("error", {})
    except (orjson.JSONDecodeError, AttributeError):
        return {"message": content.decode("utf-8", "replace")}
    return error if isinstance(error, dict) else {"message": str(error)}


def _field_and_code(error: Mapping[str, Any]) -> tuple[str, str]:
    """The field at fault and the code of the error, if the server names them."""
    field, code = error.get("param"), error.get("code")
    return (
        field[:100] if isinstance(field, str) and field else "messages",
        code if isinstance(code, str) and _CODE.fullmatch(code) else "invalid_value",
    )
