"""What the promotions page shows of an evaluation's report.

The report's own model (``trainers.runs.report``) brings torch and transformers along, which the hub does without; here are the parts
that are shown, as they stand in the artifact. A test holds the two together.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import Message, problems


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Interval(_Part):
    figure: float
    low: float
    high: float
    n: int


class Divergence(_Part):
    per_reply: Interval
    per_token: float


class WinRate(_Part):
    rate: Interval
    judgments: int
    recruiters: int
    length_controlled: float
    null: float | None
    outside: tuple[float, float]


class Data(_Part):
    training_judgments: int
    used: int | None
    evaluation_judgments: int
    evaluation_recruiters: int
    prompts: int
    overlap: int = 0


class PairedReply(_Part):
    """Both models' replies to one prompt; a negative difference is in the champion's favour."""

    prompt: tuple[Message, ...]
    challenger: str
    champion: str
    reward_difference: float
    chosen_as: Literal["worst", "random"]


class ShownReport(_Part):
    champion: str
    data: Data
    win_rate: WinRate
    kl_base: Divergence
    kl_champion: Divergence
    replies: tuple[PairedReply, ...]


def read_report(artifacts: Artifacts, sha: str) -> ShownReport:
    """The report that lies under this hash; :class:`ArtifactError` where there is none, or it is another program's."""
    try:
        return ShownReport.model_validate_json(artifacts.read(sha))
    except ValidationError as error:
        raise ArtifactError(f"report {sha[:12]}… cannot be shown: {problems(error.errors())}; upgrade the hub") from error
