"""How much an evaluation looks at, and what its gates ask for: the sections ``[evaluation]`` and ``[gates]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Sampling
from storage.settings import section, sections_of
from trainers.audits.table import gates_section

Count = Annotated[int, Field(ge=1)]


@section("evaluation")
class EvaluationSettings(BaseModel):
    """How a challenger is tried.

    Attributes
    ----------
    temperature, top_p, max_tokens : as serving samples; the replies compared are the first that each model gives
    prompts : the newest of the stratum are used, up to so many
    null_prompts : on so many the champion is held against a second sample of itself
    kl_prompts : on so many of the challenger's replies its divergence is measured
    names : pairs of names for the name audit
    alpha : spent over successive challengers, the k-th having alpha / k² (two-sided)
    resamples : refits for the win rate's interval
    seed : of sampling and resampling
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    prompts: Count = 810
    null_prompts: Annotated[int, Field(ge=0)] = 60
    kl_prompts: Count = 224
    names: Annotated[int, Field(ge=2)] = 10
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    resamples: Annotated[int, Field(ge=200)] = 200
    seed: int = 0

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


sections_of(lambda: {"gates": gates_section()})
