"""Priors of a panel's tastes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from trainers.reward.online.settings import Positive

Scales = Annotated[tuple[Positive, ...], Field(min_length=1)]


class PanelSettings(BaseModel):
    """Priors of a panel's tastes.

    Attributes
    ----------
    scales, own_scales : candidates for the prior standard deviation of the log-odds between two typical judged replies that the shared and
        the own tastes give; averaged over by marginal likelihood
    center, own_center, spread : the log-normal prior on the two scales
    cut_points : where negligible, slight, clear and significant preferences begin, in log-odds, before they are fitted
    cut_spread : prior standard deviation of the logarithm of each gap between them
    position_scale, pull_scale : prior standard deviations of the pull of the side shown first, common to all and of each recruiter
    lapsed, attentive : the two counts of the Beta prior on a recruiter's lapse rate
    shift_scale : prior standard deviation of the mean log-odds between two models, on top of what the tastes give. At 0.5 a win rate
        between 27% and 73% is expected beforehand. A flat prior would estimate an effect from few judgments too large, as maximum
        likelihood does in logistic regression (Firth, 1993, "Bias reduction of maximum likelihood estimates"): in 51 simulated panels
        the mean estimate was .012 further from one half at 2 than at 0.5, with and without lapses, and its error larger
    rounds : EM rounds for the cut points and the recruiters' lapse rates
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: Scales = (0.15, 0.4, 1.0, 2.5)
    own_scales: Scales = (0.1, 0.4, 1.2)
    center: Positive = 0.6
    own_center: Positive = 0.4
    spread: Positive = 1.0
    cut_points: tuple[Positive, Positive, Positive, Positive] = (0.4, 1.0, 1.8, 2.8)
    cut_spread: Positive = 0.7
    position_scale: Positive = 0.5
    pull_scale: Positive = 0.3
    lapsed: Positive = 1.0
    attentive: Positive = 9.0
    shift_scale: Positive = 0.5
    rounds: Annotated[int, Field(ge=1, le=20)] = 3
