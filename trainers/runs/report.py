"""The report on a challenger: everything that was found, on how much evidence, from what.

It is made by the pipeline, kept as an artifact and read by reviewers in the dashboard, so that it imports neither torch nor scipy.
"""

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import GateResult, Message, Sampling, Verdict, problems


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Lineage(_Part):
    """What the report stands on, by hash. ``snapshot`` is the manifest's, or the file's."""

    snapshot: str
    through_sequence: int | None
    sources: tuple[str, ...]
    embedding: str
    embedding_hash: str
    reward_head: str
    base_hash: str | None  # of the base model's weights, where they lie in a folder


class Data(_Part):
    """How much there was; ``used`` rows are left of the ``decisive`` ones after deduplication and weighting by age.

    ``overlap`` training judgments were left out before all that, because the evaluation stratum has their prompt or conversation too.
    """

    training_judgments: int
    decisive: int
    used: int | None
    evaluation_judgments: int
    evaluation_recruiters: int
    prompts: int
    overlap: int = 0


class Training(_Part):
    """The training's last logged metrics; ``too_long`` rows were left out."""

    rows: int
    steps: int
    metrics: dict[str, float]
    too_long: int = 0


class PairedReply(_Part):
    """Both models' replies to one prompt; a negative difference is in the champion's favour."""

    prompt: tuple[Message, ...]
    challenger: str
    champion: str
    reward_difference: float
    chosen_as: Literal["worst", "random"]


class Report(_Part):
    """Everything about one challenger against one champion.

    Attributes
    ----------
    findings : what each audit measured, by its name, in the form of its own model
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


def read_report(artifacts: Artifacts, sha: str) -> Report:
    """The report that lies under this hash.

    Raises
    ------
    ArtifactError
        There is none, or it is another program's.
    """
    try:
        return Report.model_validate_json(orjson.dumps(_upcast(orjson.loads(artifacts.read(sha)))))
    except (ValidationError, orjson.JSONDecodeError) as error:
        found = problems(error.errors()) if isinstance(error, ValidationError) else "not JSON"
        raise ArtifactError(f"report {sha[:12]}… cannot be shown: {found}; upgrade the hub") from error


def _upcast(fields: Any) -> Any:
    """A report of version 1 had a field for each of the five audits that there were."""
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
