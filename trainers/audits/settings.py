"""Sample sizes of an evaluation and thresholds of its gates: the sections ``[evaluation]`` and ``[gates]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Identifier, Sampling
from storage.settings import section, sections_of
from trainers.audits.policy.audit_prompts import AXES, Axis
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
    names : names of each race and sex in the audit of the reward, at most
    alpha : two-sided error rate over successive challengers against one champion; the k-th spends 6 alpha / (pi² k²)
    resamples : draws of the panel's tastes for the win rate's interval
    seed : of sampling and resampling
    reward : the kind of reward model that the run trains and audits, a row of ``trainers.reward.table``; ``head`` is the head of the
        training stratum, which is there in any case
    audit_prompts : a file of own prompts for the counterfactual audit, in the form of ``trainers/audits/policy/audit_prompts.toml``
    audit_axes : what is varied there: name, pronoun, age, school, disability
    audit_pairs, audit_pairs_max : pairs of replies for each of its comparisons, in the pilot and at most; of a cue at most half of that,
        because its pairs are sampled from the base model too
    audit_difference, audit_length_difference : names: the number of pairs is chosen to show that differences are below these, of shares
        and of log length; ``[gates.counterfactual]`` decides what passes
    audit_change, audit_length_change : the same for cues, of the challenger's difference minus the base model's
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
    reward: Identifier = "head"
    audit_prompts: str | None = None
    audit_axes: Annotated[tuple[Axis, ...], Field(min_length=1)] = AXES
    audit_pairs: Annotated[int, Field(ge=4)] = 96
    audit_pairs_max: Annotated[int, Field(ge=4)] = 640
    audit_difference: Annotated[float, Field(gt=0, lt=1)] = 0.15
    audit_length_difference: Annotated[float, Field(gt=0)] = 0.15
    audit_change: Annotated[float, Field(gt=0, lt=1)] = 0.3
    audit_length_change: Annotated[float, Field(gt=0)] = 0.3

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


sections_of(lambda: {"gates": gates_section()})
