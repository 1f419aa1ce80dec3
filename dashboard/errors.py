"""Maps the hub's exceptions to HTTP errors. The response shape is the same on every port: ``streams.http.errors``."""

from typing import Any

from dashboard.actions.reviews import Conflict, NotFound
from storage.errors import ArtifactError, UpstreamError
from streams.http.errors import KINDS, ErrorAnswer, Kind, Kinds

REFUSALS: Kinds = {
    **KINDS,
    NotFound: Kind(404, "not_found"),
    Conflict: Kind(409, "conflict"),
    UpstreamError: Kind(502, "serving_failed", "upstream_error"),
    ArtifactError: Kind(404, "not_found", own_files=True),
}

DOCUMENTED: dict[int | str, dict[str, Any]] = {  # "4XX" also keeps FastAPI from documenting its own 422, which is never returned
    "4XX": {"model": ErrorAnswer, "description": "Refused: `message` says why, `param` names the part of the request."},
    "5XX": {"model": ErrorAnswer, "description": "Server error; retry if `Retry-After` is set."},
}
