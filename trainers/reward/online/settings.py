"""The online head: the section ``[learning]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.reward.online.recruiters import RecruiterPrior

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class HeadSettings(BaseModel):
    """The section ``[learning]``.

    Attributes
    ----------
    prior_scale : standard deviation, before any judgment, of the log-odds between two typical replies to one prompt
    position_scale : the same of the pull of the side shown first, common to all recruiters
    cut_points : where negligible, slight, clear and significant preferences begin, in log-odds
    lapsed, attentive, pull_scale : priors of a recruiter's lapse rate (a Beta's two counts) and own pull of the side shown first
    reconcile_every : sequence numbers between reconciliations; each is taken over a quarter as many numbers later
    rounds : of expectation and maximisation for the recruiters in each
    prequential_window : decisive judgments over which the figures of prediction before learning are taken
    half_life_days : an older judgment's weight at a reconciliation halves with each; never where absent
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior_scale: Positive = 0.7
    position_scale: Positive = 0.5
    cut_points: tuple[Positive, Positive, Positive, Positive] = (0.4, 1.0, 1.8, 2.8)
    lapsed: Positive = 1.0
    attentive: Positive = 9.0
    pull_scale: Positive = 0.3
    reconcile_every: Annotated[int, Field(ge=1)] = 1_000
    rounds: Annotated[int, Field(ge=0, le=50)] = 5
    prequential_window: Annotated[int, Field(ge=1)] = 500
    half_life_days: Positive | None = None

    @model_validator(mode="after")
    def _cuts_ascend(self) -> "HeadSettings":
        if list(self.cut_points) != sorted(set(self.cut_points)):
            raise ValueError("have to ascend")
        return self

    @property
    def taken_over_after(self) -> int:
        """Sequence numbers from a reconciliation to where it is taken over: the time in which it can be computed beside the learning."""
        return self.reconcile_every // 4

    @property
    def recruiter_prior(self) -> RecruiterPrior:
        return RecruiterPrior(self.lapsed, self.attentive, self.pull_scale)
