"""Sample sizes of an evaluation and thresholds of its gates: the sections ``[evaluation]`` and ``[gates]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Sampling
from storage.settings import section, sections_of
from trainers.audits.table import gates_section

Count = Annotated[int, Field(ge=1)]


@section("evaluation")
class EvaluationSettings(BaseModel):
    """How a challenger is evaluated.

    Attributes
    ----------
    temperature, top_p, max_tokens : sampling parameters, as in serving; each model's first reply is compared
    prompts : maximum number of prompts; the newest of the evaluation stratum are used
    kl_prompts : challenger replies on which its KL divergence is measured
    names : pairs of names in the name audit
    alpha : two-sided error rate over successive challengers against one champion; the k-th spends 6 alpha / (pi² k²)
    resamples : draws of the panel's tastes for the win rate's interval
    seed : of sampling and resampling
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    prompts: Count = 810
    kl_prompts: Count = 224
    names: Annotated[int, Field(ge=2)] = 10
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    resamples: Annotated[int, Field(ge=200)] = 200
    seed: int = 0

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


sections_of(lambda: {"gates": gates_section()})
