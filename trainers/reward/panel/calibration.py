"""Does the panel's posterior predict judgments that it has not seen? The slope of answers on cross-validated predictions."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t

from trainers.audits.statistics.intervals import Interval
from trainers.reward.panel.posterior import Panel


@dataclass(frozen=True)
class Calibration:
    """The slope of the answers on predictions made without their conversation, with its standard error, from ``n`` conversations.

    1 is right, below 1 the head is overconfident, 0 is a coin.
    """

    slope: float
    error: float
    n: int

    def interval(self, confidence: float) -> Interval:
        """Two-sided Student interval of the slope."""
        if self.n < 2:
            return Interval(figure=self.slope, low=-np.inf, high=np.inf, n=self.n)
        half_width = float(t.ppf((1 + confidence) / 2, self.n - 1)) * self.error
        return Interval(figure=self.slope, low=self.slope - half_width, high=self.slope + half_width, n=self.n)


SLOPE_CONFIDENCE = 0.90  # each bound is one-sided at 5%


def scaled(panel: Panel) -> tuple[Panel, Interval]:
    """The panel with its cross-validated slope where the slope's interval lies above 0 and excludes 1, and the slope with the interval."""
    slope = cross_validated(panel).interval(SLOPE_CONFIDENCE)
    off = slope.low > 0 and not slope.low <= 1 <= slope.high
    return (replace(panel, slope=slope.figure) if off else panel), slope


def cross_validated(panel: Panel) -> Calibration:
    """Leave out one conversation after the other, predict its answers from all others, and fit the predictions' slope.

    The slope maximises the likelihood of the answers, with the pull of the side shown first as an offset; its error is the sandwich's,
    clustered by conversation.
    """
    groups = np.unique(panel.judged.prompt, return_inverse=True)[1]
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    mean, offset, variance = without_group(panel, members)
    kappa = 1 / np.sqrt(1 + np.pi * variance / 8)  # MacKay (1992), as in ordinal.expected
    answers, x, slope = panel.answers.scaled(kappa), kappa * mean, 0.0
    for _ in range(100):
        z = slope * x + kappa * offset
        information = float((x**2 * answers.bound_curvature(z)).sum()) + 1e-9
        step = float((x * answers.slope(z)).sum()) / information
        slope += float(np.clip(step, -1, 1))
        if abs(step) < 1e-8:
            break
    z = slope * x + kappa * offset
    scores = np.bincount(groups, weights=x * answers.slope(z))
    information = max(float((x**2 * answers.curvature(z)).sum()), 1e-9)
    return Calibration(slope=slope, error=float(np.sqrt((scores**2).sum()) / information), n=len(scores))


def without_group(panel: Panel, members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each judgment's log-odds by taste, its pull of the side shown first, and their variance, given all judgments but its group's.

    Leaving out is by the Gaussian sites at the mode of the most probable scales (Rasmussen and Williams, 2006, equation 5.12, for groups).
    """
    site, design, settings = panel.best, panel.design, panel.settings
    own_position = np.zeros((len(design.who), len(design.slices)))  # each recruiter's positions in a column of his own
    own_position[np.arange(len(design.who)), design.who] = design.position
    reached = site.inverse.times(np.column_stack([design.position, own_position]))
    dual = site.inverse.times(site.target)
    pull = settings.position_scale**2 * float(design.position @ dual) + settings.pull_scale**2 * (own_position.T @ dual)
    latent = site.covariance.times(dual)
    mean, offset, variance = np.zeros_like(dual), np.zeros_like(dual), np.zeros_like(dual)
    for at, inverse in zip(members, site.inverse.groups(members), strict=True):
        who, position = design.who[at], design.position[at]
        block = np.linalg.inv(inverse)
        left_out = block @ dual[at]
        all_moved = left_out - inverse @ left_out / site.precision[at]  # the covariance times the inverse is 1 - inverse / precision
        pull_moved = position * (
            settings.position_scale**2 * float(reached[at, 0] @ left_out) + settings.pull_scale**2 * (reached[at, 1:].T @ left_out)[who]
        )
        offset[at] = position * pull[who] - pull_moved
        mean[at] = latent[at] - all_moved - offset[at]
        variance[at] = np.maximum(np.diag(block) - 1 / site.precision[at], 0)
    return mean, offset, variance
