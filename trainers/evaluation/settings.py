"""Sample sizes of ``feedbackloop evaluate`` beyond those of its gates: the section ``[measures]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.settings import section

Count = Annotated[int, Field(ge=1)]


@section("measures")
class MeasureSettings(BaseModel):
    """How much is sampled for the figures that no gate needs. Each count is a maximum; 0 leaves the figure out.

    Attributes
    ----------
    best_of : replies of the base model from which the best-of-n policy takes the one with the highest reward
    policy_prompts : prompts on which the rewards of policies are compared
    severity_prompts : prompts of each axis and level of severity
    tasks : conversations of the simulated world in which the task's success is checked
    resamples : bootstrap resamples behind an interval
    seed : of everything that is drawn
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    best_of: Annotated[int, Field(ge=2, le=64)] = 4
    policy_prompts: Annotated[int, Field(ge=0)] = 200
    severity_prompts: Annotated[int, Field(ge=0)] = 40
    tasks: Annotated[int, Field(ge=0)] = 200
    resamples: Annotated[int, Field(ge=200)] = 1000
    seed: int = 0
