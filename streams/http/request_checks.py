"""Checks of request headers against DNS rebinding and cross-site requests.

Any web page can make the browser send requests to our ports, and only a few headers tell them from those of our own pages. So the Host
must be one of ours (with DNS rebinding a foreign page's host name resolves to 127.0.0.1), and the Origin, if any, must match it. A body
must be JSON, which a foreign page cannot send without a CORS preflight.
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from streams.http.errors import CLIENT, error_body
from streams.http.visible_text import one_line

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """The request is refused; not in ``storage.errors``, because it never leaves the guard."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, CLIENT, param=param, code=code)


def objection(
    scope: Scope, headers: Headers, hosts: frozenset[str], origins: frozenset[str] = frozenset(), scripts: frozenset[str] = frozenset()
) -> Refused | None:
    """The first check that the request's headers fail, or None.

    Pages of ``origins`` may send requests as our own may. Any page may load the ``scripts``, given by their paths.
    """
    try:
        _check_host(headers, hosts)
        if [origin.lower() for origin in headers.getlist("origin")] not in [[each] for each in origins]:
            _check_origin(headers)
            _check_site(scope, headers, scripts)
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH"):
            _check_content_type(headers)
    except Refused as refused:
        return refused
    return None


def _check_host(headers: Headers, hosts: frozenset[str]) -> None:
    given = headers.getlist("host")
    found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        raise Refused(400, "invalid_host", "exactly one well-formed Host header is required", "Host")
    name = found["name"].lower()
    if name != "localhost" and name not in hosts and not _is_loopback(name.strip("[]")):
        raise Refused(
            403, "host_not_allowed", f"host {one_line(name)!r} is not allowed; use 127.0.0.1, or add the name to allowed_hosts", "Host"
        )


def _check_origin(headers: Headers) -> None:
    given = headers.getlist("origin")
    if not given:
        return
    host = headers["host"].lower()
    if len(given) > 1 or _address(given[0].lower()) != _address(f"{given[0].lower().partition('://')[0]}://{host}"):
        raise Refused(403, "origin_not_allowed", f"cross-origin requests from {one_line(given[0])!r} to {host} are not allowed", "Origin")


def _address(origin: str) -> tuple[str, int] | object:
    """Host and port of an origin; for anything else (``null``) a new object, which equals nothing."""
    try:
        parts = urlsplit(origin)
        if parts.scheme in _PORTS and parts.hostname and origin == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc:
            return parts.hostname, _PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        pass
    return object()


def _check_site(scope: Scope, headers: Headers, scripts: frozenset[str]) -> None:
    """Check ``Sec-Fetch-Site``: other sites may only navigate to a page at top level, and load the ``scripts``."""
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return
    read = scope["type"] == "http" and scope["method"] == "GET"
    use = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
    link = use == ("navigate", "document") and not scope["path"].startswith("/v1/")
    script = use == ("no-cors", "script") and scope["path"] in scripts
    if not (read and (link or script)):
        raise Refused(403, "cross_site", "cross-site requests are not allowed; other sites may only link to pages", "Sec-Fetch-Site")


def _check_content_type(headers: Headers) -> None:
    given = headers.getlist("content-type")
    if len(given) != 1 or not _JSON.fullmatch(given[0].partition(";")[0].strip()):
        sent = one_line(", ".join(given)) or "none"
        raise Refused(415, "unsupported_media_type", f"Content-Type is {sent}; send JSON as application/json", "Content-Type")


@lru_cache(maxsize=256)
def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
