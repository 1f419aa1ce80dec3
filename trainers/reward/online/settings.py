"""The online head: the section ``[learning]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.reward.online.recruiters import RecruiterPrior

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class HeadSettings(BaseModel):
    """The section ``[learning]``.

    Attributes
    ----------
    prior_scale : prior standard deviation of the log-odds between two typical replies to one prompt
    position_scale : prior standard deviation of the pull of the side shown first, common to all recruiters
    cut_points : where negligible, slight, clear and significant preferences begin, in log-odds
    lapsed, attentive, pull_scale : priors of a recruiter's lapse rate (a Beta's two counts) and own pull of the side shown first
    reconcile_every : sequence numbers between reconciliations; each takes effect a quarter as many numbers later
    rounds : EM rounds for the recruiters in each reconciliation
    prequential_window : number of latest decisive judgments for prequential accuracy and log loss
    half_life_days : age at which a judgment's weight at a reconciliation is halved; None for no decay
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
            raise ValueError("cut points have to be strictly ascending")
        return self

    @property
    def taken_over_after(self) -> int:
        """Sequence numbers from a reconciliation to where it takes effect: the time to compute it in the background."""
        return self.reconcile_every // 4

    @property
    def recruiter_prior(self) -> RecruiterPrior:
        return RecruiterPrior(self.lapsed, self.attentive, self.pull_scale)
