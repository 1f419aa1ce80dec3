"""Which requests are refused by their head alone.

A browser sends the requests of any web page to our ports as well, and only a few headers tell them from those of our own pages. So a
request is refused unless its Host is one of ours (a name that its owner maps to 127.0.0.1 would make a foreign page one of ours) and its
Origin, where it has one, is that Host. A body has to be JSON, which no foreign page can send without asking first.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from streams.http.errors import CLIENT, error_body
from streams.http.visible_text import one_line

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?")
_JSON = re.compile(r"application/(?:[\w.+-]+\+)?json", re.IGNORECASE)
_PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """This request is not answered; not one of ``storage.errors``, since it never leaves the guard."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = error_body(message, CLIENT, param=param, code=code)


def objection(scope: Scope, headers: Headers, hosts: frozenset[str]) -> Refused | None:
    """What is wrong with the head of the request, in the order in which it matters."""
    try:
        _check_host(headers, hosts)
        _check_origin(headers)
        _check_site(scope, headers)
        if scope["type"] == "http" and scope["method"] in ("POST", "PUT", "PATCH"):
            _check_content_type(headers)
    except Refused as refused:
        return refused
    return None


def _check_host(headers: Headers, hosts: frozenset[str]) -> None:
    given = headers.getlist("host")
    found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    if found is None:
        raise Refused(400, "invalid_host", "exactly one well-formed Host header is needed", "Host")
    name = found["name"].lower()
    if name != "localhost" and name not in hosts and not _is_loopback(name.strip("[]")):
        raise Refused(
            403, "host_not_allowed", f"there is no {one_line(name)!r} here; ask for 127.0.0.1, or add that name to allowed_hosts", "Host"
        )


def _check_origin(headers: Headers) -> None:
    given = headers.getlist("origin")
    if not given:
        return
    host = headers["host"].lower()
    if len(given) > 1 or _address(given[0].lower()) != _address(f"{given[0].lower().partition('://')[0]}://{host}"):
        raise Refused(403, "origin_not_allowed", f"a page of {one_line(given[0])!r} may not ask {host}; only its own pages may", "Origin")


def _address(origin: str) -> tuple[str, int] | object:
    """Host and port; for what is no origin of a web page (``null``), something that equals nothing."""
    try:
        parts = urlsplit(origin)
        if parts.scheme in _PORTS and parts.hostname and origin == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc:
            return parts.hostname, _PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        pass
    return object()


def _check_site(scope: Scope, headers: Headers) -> None:
    """A browser says from where it was sent. From elsewhere it may follow a link to a page, and nothing else."""
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return
    link = (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        and not scope["path"].startswith("/v1/")
    )
    if not link:
        raise Refused(
            403, "cross_site", "a page of another site may not ask this; only links to pages are followed from there", "Sec-Fetch-Site"
        )


def _check_content_type(headers: Headers) -> None:
    given = headers.getlist("content-type")
    if len(given) != 1 or not _JSON.fullmatch(given[0].partition(";")[0].strip()):
        said = one_line(", ".join(given)) or "none"
        raise Refused(415, "unsupported_media_type", f"Content-Type is {said}; send JSON as application/json", "Content-Type")


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
