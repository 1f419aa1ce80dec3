"""Confidence intervals shared by audits: of a mean, of a paired difference of shares, and of a share, for this panel and for others."""

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np


class Interval(BaseModel):
    """An estimate with the bounds of its interval, on ``n`` units."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    figure: float
    low: float
    high: float
    n: int

    @property
    def bounded(self) -> bool:
        """Whether both bounds are finite."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def mean_interval(values: "np.ndarray", confidence: float) -> Interval:
    """Two-sided Student interval of the mean of independent ``values``, shape ``(n,)``; infinite for fewer than two."""
    import numpy as np
    from scipy.stats import t

    n = len(values)
    figure = float(np.mean(values)) if n else 0.0
    if n < 2:
        return Interval(figure=figure, low=-math.inf, high=math.inf, n=n)
    half_width = float(t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(figure=figure, low=figure - half_width, high=figure + half_width, n=n)


def paired_shares(more: int, fewer: int, n: int, confidence: float) -> Interval:
    """The difference of two shares over the same ``n`` units, with one-sided bounds at ``confidence`` each.

    The bounds are those of Agresti and Min (2005), "Simple improved confidence intervals for comparing matched proportions": Wald bounds
    with half a unit added to each cell of the two-by-two table. The figure is the plain difference.

    Parameters
    ----------
    more, fewer : units counted in the first share only, and in the second only
    """
    from scipy.stats import norm

    size = n + 2
    center = (more - fewer) / size
    variance = ((more + fewer + 1) - (more - fewer) ** 2 / size) / size**2
    half_width = float(norm.ppf(confidence)) * math.sqrt(variance)
    return Interval(figure=(more - fewer) / n if n else 0.0, low=center - half_width, high=center + half_width, n=n)


def logit_draws_interval(draws: "np.ndarray", alpha: float, n: int) -> Interval:
    """Interval of a share with posterior probability ``1 - alpha`` from draws of it, shape ``(draws,)``, by a normal on the logit scale.

    A normal, because the bounds of the twentieth challenger lie far beyond any draw. ``n`` is reported as it is.
    """
    import numpy as np
    from scipy.stats import norm

    center, spread = _logit_moments(draws)
    half_width = float(norm.ppf(1 - alpha / 2)) * spread
    return _from_logits(float(np.mean(draws)), center - half_width, center + half_width, n)


def other_recruiters_interval(draws: "np.ndarray", alpha: float) -> Interval:
    """Interval of the mean share over all recruiters, of whom the columns of ``draws``, shape ``(draws, recruiters)``, are a sample.

    The variance is the panel's own plus S²/K, where S² is the variance between the K recruiters, averaged over the draws (the law of total
    variance, with the recruiter as the cluster); the quantile is Student's with K - 1 degrees of freedom. (0, 1) for a single recruiter.
    """
    import numpy as np
    from scipy.stats import t

    figure, recruiters = float(np.mean(draws)), draws.shape[1]
    if recruiters < 2:
        return Interval(figure=figure, low=0.0, high=1.0, n=recruiters)
    center, spread = _logit_moments(draws.mean(axis=1))
    between = float(np.var(draws, axis=1, ddof=1).mean()) / (figure * (1 - figure)) ** 2  # delta method, on the logit scale
    half_width = float(t.ppf(1 - alpha / 2, recruiters - 1)) * math.sqrt(spread**2 + between / recruiters)
    return _from_logits(figure, center - half_width, center + half_width, recruiters)


def _logit_moments(draws: "np.ndarray") -> tuple[float, float]:
    import numpy as np
    from scipy.special import logit

    edge = 1e-6
    logits = logit(np.clip(draws, edge, 1 - edge))
    return float(np.mean(logits)), float(np.std(logits, ddof=1))


def _from_logits(figure: float, low: float, high: float, n: int) -> Interval:
    from scipy.special import expit

    return Interval(figure=figure, low=float(expit(low)), high=float(expit(high)), n=n)


def exact_share(count: int, n: int, confidence: float) -> Interval:
    """A share with its one-sided bounds at ``confidence`` each, after Clopper and Pearson (1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(1 - confidence, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(confidence, count + 1, n - count)) if count < n else 1.0
    return Interval(figure=count / n if n else 0.0, low=low, high=high, n=n)
