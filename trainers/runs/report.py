"""The report on a challenger: everything that was found, on how much evidence, from what.

It is made by the pipeline, kept as an artifact and read by reviewers in the dashboard.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from storage.events import GateResult, Message, Sampling, Verdict
from trainers.audits.kl import Divergence
from trainers.audits.name_swap import Contrast
from trainers.audits.win_rate import WinRate


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
    """The training's last logged metrics."""

    rows: int
    steps: int
    metrics: dict[str, float]


class Shares(_Part):
    """Shares of the two models' replies in which something was found, with some of what was found in the challenger's."""

    challenger: float
    champion: float
    n: int
    examples: tuple[str, ...]


class PairedReply(_Part):
    """Both models' replies to one prompt; a negative difference is in the champion's favour."""

    prompt: tuple[Message, ...]
    challenger: str
    champion: str
    reward_difference: float
    chosen_as: Literal["worst", "random"]


class Report(_Part):
    """Everything about one challenger against one champion."""

    schema_version: Literal[1] = 1
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
    win_rate: WinRate
    kl_base: Divergence
    kl_champion: Divergence
    wrong_facts: Shares
    improper: Shares
    contrasts: tuple[Contrast, ...]
    replies: tuple[PairedReply, ...]
    gates: tuple[GateResult, ...]
    verdict: Verdict
