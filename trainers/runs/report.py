"""The evaluation report on a challenger: findings, evidence and lineage.

It is written by the pipeline, stored as an artifact and shown in the dashboard, so this module imports neither torch nor scipy.
"""

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import GateResult, Message, Sampling, Verdict, problems
from trainers.policy.training_curve import CurvePoint


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Lineage(_Part):
    """The report's inputs by hash. ``snapshot`` is the hash of the manifest, or of the file; ``versions`` are those of the libraries."""

    snapshot: str
    through_sequence: int | None
    sources: tuple[str, ...]
    embedding: str
    embedding_hash: str
    reward_head: str
    base_hash: str | None  # of the base model's files, if they are in a local folder
    versions: dict[str, str] = Field(default_factory=dict)


class Data(_Part):
    """Sizes of the data; ``used`` rows remain of the ``decisive`` ones after deduplication and downsampling by age.

    ``overlap`` training judgments were left out beforehand, because the evaluation stratum has their prompt or conversation too.
    """

    training_judgments: int
    decisive: int
    used: int | None
    evaluation_judgments: int
    evaluation_recruiters: int
    prompts: int
    overlap: int = 0


class Training(_Part):
    """Size and last logged metrics of the training; ``too_long`` rows were dropped.

    ``curve`` is what a governor measured on the way; ``stopped`` says why it ended the training early.
    """

    rows: int
    steps: int
    metrics: dict[str, float]
    too_long: int = 0
    curve: tuple[CurvePoint, ...] = ()
    stopped: str | None = None


class PairedReply(_Part):
    """Both models' replies to one prompt; a negative difference favours the champion."""

    prompt: tuple[Message, ...]
    challenger: str
    champion: str
    reward_difference: float
    chosen_as: Literal["worst", "random"]


class Report(_Part):
    """The evaluation of one challenger against one champion.

    Attributes
    ----------
    findings : what each audit measured, by its name, in the form of its own model
    reward_model : hash of the reward model that the run trained; None where the audits look at the head
    """

    schema_version: Literal[2] = 2
    run_id: str
    version: str
    policy: str | None
    base: str
    champion: str
    champion_policy: str | None
    challengers_before: int
    lineage: Lineage
    data: Data
    training: Training | None
    sampling: Sampling
    settings: dict[str, Any]
    findings: dict[str, Any]
    replies: tuple[PairedReply, ...]
    gates: tuple[GateResult, ...]
    verdict: Verdict
    reward_model: str | None = None


def read_report(artifacts: Artifacts, sha: str) -> Report:
    """The report with this hash.

    Raises
    ------
    ArtifactError
        It does not exist, or was written by an incompatible version.
    """
    try:
        return Report.model_validate_json(orjson.dumps(_upcast(orjson.loads(artifacts.read(sha)))))
    except (ValidationError, orjson.JSONDecodeError) as error:
        found = problems(error.errors()) if isinstance(error, ValidationError) else "not JSON"
        raise ArtifactError(f"report {sha[:12]}… cannot be shown: {found}; upgrade the hub") from error


def _upcast(fields: Any) -> Any:
    """Convert version 1, which had a field for each of the five audits, to version 2."""
    if not isinstance(fields, dict) or fields.get("schema_version", 1) != 1 or "win_rate" not in fields:
        return fields
    fields = dict(fields)
    findings = {
        "win_rate": fields.pop("win_rate"),
        "kl_budget": {"base": fields.pop("kl_base", None), "champion": fields.pop("kl_champion", None)},
        "facts": fields.pop("wrong_facts", None),
        "conduct": fields.pop("improper", None),
        "name_contrast": {"contrasts": fields.pop("contrasts", ())},
    }
    return fields | {"schema_version": 2, "findings": findings}
