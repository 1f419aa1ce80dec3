"""Maps the hub's exceptions to HTTP errors. The response shape is the same on every port: ``streams.http.errors``."""

from dashboard.actions.reviews import Conflict, NotFound
from storage.errors import ArtifactError, UpstreamError
from streams.http.errors import KINDS, Kind, Kinds

REFUSALS: Kinds = {
    **KINDS,
    NotFound: Kind(404, "not_found"),
    Conflict: Kind(409, "conflict"),
    UpstreamError: Kind(502, "serving_failed", "upstream_error"),
    ArtifactError: Kind(404, "not_found", own_files=True),
}
