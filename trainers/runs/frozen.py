"""The settings that a run was requested with, identified by one hash: trainer, gates and reviewers all use these."""

import hashlib
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import Identifier, problems

# The gates of runs that were requested before their settings were recorded on the log.
FIRST_REQUIRED: tuple[str, ...] = ("win_rate", "kl_budget", "facts", "conduct", "name_contrast")


class FrozenSettings(BaseModel):
    """Every setting that decides a run's outcome.

    Attributes
    ----------
    sections : by name, as ``feedbackloop.toml`` has them
    required : the gates that an evaluation of the run must have to be accepted
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Identifier
    sections: dict[Identifier, Any]
    required: tuple[Identifier, ...] = Field(min_length=1)

    def as_bytes(self) -> bytes:
        """The settings as an artifact: the same settings give the same bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    def hash(self) -> str:
        """SHA-256 of :meth:`as_bytes`: the artifact's name."""
        return hashlib.sha256(self.as_bytes()).hexdigest()


def read_frozen(artifacts: Artifacts, sha: str) -> FrozenSettings:
    """The settings with this hash.

    Raises
    ------
    ArtifactError
        They do not exist, or are not a run's settings.
    """
    try:
        return FrozenSettings.model_validate_json(artifacts.read(sha))
    except ValidationError as error:
        raise ArtifactError(f"settings {sha[:12]}…: {problems(error.errors(include_input=False))}") from error
