"""How the hub answers its errors; the shape is that of every port, ``streams.http.errors``."""

from typing import Any

from dashboard.actions.reviews import Conflict, NotFound
from storage.errors import ArtifactError
from streams.http.errors import KINDS, ErrorAnswer, Kind, Kinds

REFUSALS: Kinds = {
    **KINDS,
    NotFound: Kind(404, "not_found"),
    Conflict: Kind(409, "conflict"),
    ArtifactError: Kind(404, "not_found", own_files=True),
}

DOCUMENTED: dict[int | str, dict[str, Any]] = {  # "4XX" in it also keeps FastAPI from documenting its own 422, which is never answered
    "4XX": {"model": ErrorAnswer, "description": "Refused: the message says why, `param` which part of the request."},
    "5XX": {"model": ErrorAnswer, "description": "Failed here; with `Retry-After` it is worth trying again."},
}
