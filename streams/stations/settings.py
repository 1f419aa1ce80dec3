"""When to train: the section ``[retraining]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Identifier
from storage.settings import section


@section("retraining")
class RetrainingRule(BaseModel):
    """When to train.

    Attributes
    ----------
    every : judged pairs of the training stratum per run
    after_days, at_least : also request a run when the last request is this many days old and at least this many pairs were judged since
    method : a row of ``trainers.policy.methods``
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: Annotated[int, Field(ge=1)] = 200
    after_days: Annotated[float, Field(gt=0)] = 7.0
    at_least: Annotated[int, Field(ge=1)] = 50
    method: Identifier = "dpo"
