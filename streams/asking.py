"""How recruiters are asked about a pair: by which arm of the rating queue, and how many of them. Fixed and recorded when it is drawn.

A share of pairs is asked uniformly, whatever the reward model knows, so that accuracy and the judgments saved can be measured without bias.
Another share is asked of several recruiters, so that their agreement can be measured. Both are decided by keyed hashes of the pair's id,
because products may choose the ids of their pairs.
"""

import hmac
from typing import Annotated, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Stratum
from storage.settings import section

Share = Annotated[float, Field(ge=0, le=1)]
NOT_REPEATED = ("imported", "edited", "duel", "canary")  # judged already, or of a test whose recruiters each count once


@section("asking")
class AskingSettings(BaseModel):
    """The section ``[asking]``: which pairs recruiters see first, and how many of them see each.

    Attributes
    ----------
    order : ``informative`` pairs first, or the ``newest``
    uniform_share : fraction of the training pairs that is asked newest first in any case
    repeated_share : fraction of the pairs that is asked of several recruiters
    repeated_opinions : of how many recruiters those are asked
    ranked : newest open pairs among which the informative ones are chosen
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Literal["informative", "newest"] = "informative"
    uniform_share: Share = 0.1
    repeated_share: Share = 0.1
    repeated_opinions: Annotated[int, Field(ge=2, le=100)] = 2
    ranked: Annotated[int, Field(ge=2, le=2_000)] = 500

    @property
    def informative_share(self) -> float:
        """The fraction of all pairs whose turn the reward model decides."""
        return 0.75 * (1 - self.uniform_share) if self.order == "informative" else 0.0  # a quarter is the evaluation stratum


class Asking(NamedTuple):
    """The fields of ``PairDrawn`` that say how it is asked."""

    arm: str
    opinions: int | None


def asking_of(pair_id: UUID, drawn: str, stratum: Stratum, rule: AskingSettings, key: bytes) -> Asking:
    """How recruiters are asked about a pair; the evaluation stratum is always asked uniformly."""
    uniform = stratum == "evaluation" or _unit(key, "uniform", pair_id) < rule.uniform_share
    repeated = drawn not in NOT_REPEATED and _unit(key, "repeated", pair_id) < rule.repeated_share
    return Asking("uniform" if uniform else "informative", rule.repeated_opinions if repeated else None)


def _unit(key: bytes, use: str, pair_id: UUID) -> float:
    """A number in [0, 1), a hash of the pair's id for this use."""
    digest = hmac.digest(key, f"{use}\x1f{pair_id}".encode(), "sha256")
    return int.from_bytes(digest[:8]) / 2**64
