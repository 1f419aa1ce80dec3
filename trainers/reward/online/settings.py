"""The online head: the section ``[learning]``."""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.events import Identifier
from trainers.features.guards import GUARDS
from trainers.reward.online.recruiters import RecruiterPrior

OVERALL = "overall"
GUARD_FEATURES = len(GUARDS) + 1  # the last features, with the fingerprint: they are no embedding
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class HeadSettings(BaseModel):
    """The section ``[learning]``.

    Attributes
    ----------
    prior_scale : prior standard deviation of the log-odds between two typical replies to one prompt
    guard_share : prior standard deviation of the guards' weights, as a multiple of ``prior_scale``
    position_scale : prior standard deviation of the pull of the side shown first, common to all recruiters
    cut_points : where negligible, slight, clear and significant preferences begin, in log-odds, until the first reconciliation fits them
    cut_spread : prior standard deviation of the logarithm of each gap between cut points
    lapsed, attentive, pull_scale : priors of a recruiter's lapse rate (a Beta's two counts) and own pull of the side shown first
    scale_spread : prior standard deviation of the logarithm of a recruiter's scale
    reconcile_every : sequence numbers between the first reconciliations; each takes effect a quarter as many numbers later
    reconcile_steadily : the last of these sequence numbers; after it the distance grows
    reconcile_growth : ratio of two later sequence numbers, so that reconciling costs O(n) in all for n judgments
    rounds : EM rounds for cut points and recruiters in each reconciliation
    objectives : questions beside the overall one that have weights of their own; judgments name them in ``objectives``
    prequential_window : number of latest decisive judgments for prequential accuracy and log loss
    half_life_days : age at which a judgment's weight at a reconciliation is halved; None for no decay
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior_scale: Positive = 0.7
    guard_share: Positive = 1.0
    position_scale: Positive = 0.5
    cut_points: tuple[Positive, Positive, Positive, Positive] = (0.4, 1.0, 1.8, 2.8)
    lapsed: Positive = 1.0
    attentive: Positive = 4.0
    pull_scale: Positive = 0.3
    cut_spread: Positive = 0.7
    scale_spread: Positive = 0.3
    reconcile_every: Annotated[int, Field(ge=1)] = 1_000
    reconcile_steadily: Annotated[int, Field(ge=1)] = 4_000
    reconcile_growth: Annotated[float, Field(gt=1, le=10)] = 2.0
    rounds: Annotated[int, Field(ge=0, le=50)] = 10
    prequential_window: Annotated[int, Field(ge=1)] = 500
    half_life_days: Positive | None = None
    objectives: tuple[Identifier, ...] = ("helpful", "safe", "factual", "engaging")

    @model_validator(mode="after")
    def _cuts_ascend(self) -> "HeadSettings":
        if list(self.cut_points) != sorted(set(self.cut_points)):
            raise ValueError("cut points have to be strictly ascending")
        return self

    @model_validator(mode="after")
    def _objectives_differ(self) -> "HeadSettings":
        if len(set(self.questions)) < len(self.questions):
            raise ValueError(f"objectives have to differ, and {OVERALL!r} is the name of the overall answer")
        return self

    @property
    def questions(self) -> tuple[str, ...]:
        """What a judgment may answer: the overall question and each objective."""
        return (OVERALL, *self.objectives)

    @property
    def taken_over_after(self) -> int:
        """Sequence numbers from a reconciliation to where it takes effect: the time to compute it in the background."""
        return self.reconcile_every // 4

    @property
    def recruiter_prior(self) -> RecruiterPrior:
        return RecruiterPrior(self.lapsed, self.attentive, self.pull_scale, self.scale_spread)

    def reconciled_through(self, sequence: int) -> int:
        """The last sequence number up to ``sequence`` at which a reconciliation happens; 0 if there is none."""
        every = self.reconcile_every
        if sequence < max(self.reconcile_steadily, 2 * every):
            return sequence - sequence % every
        point = following = max(self.reconcile_steadily - self.reconcile_steadily % every, every)
        while following <= sequence:
            point = following
            following = every * max(math.ceil(point * self.reconcile_growth / every), point // every + 1)
        return point
