"""Serves ``widget.js``, the one script of ours that pages of other sites may load."""

import gzip
import hashlib
from pathlib import Path

from fastapi import APIRouter, Request, Response

PATH = "/widget.js"
SCRIPT = Path(__file__).with_name("widget.js")


def widget_router() -> APIRouter:
    """``/widget.js``: compressed where the browser takes it, and sent again only after it has changed."""
    plain = SCRIPT.read_bytes()
    compressed = gzip.compress(plain, mtime=0)
    tag = f'W/"{hashlib.sha256(plain).hexdigest()[:32]}"'  # weak: both encodings have it
    shared = {
        "ETag": tag,
        "Cache-Control": "no-cache",  # ask each time: the script has to fit the server's version
        "Vary": "Accept-Encoding",
    }
    router = APIRouter()

    @router.api_route(PATH, methods=["GET", "HEAD"], include_in_schema=False)
    def script(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=shared)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(compressed, media_type="text/javascript", headers=shared | {"Content-Encoding": "gzip"})
        return Response(plain, media_type="text/javascript", headers=shared)

    return router
