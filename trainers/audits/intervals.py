"""Confidence intervals shared by audits: of a mean, of a paired difference of shares, and of a share on the logit scale."""

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


def logit_interval(figure: float, resampled: "np.ndarray", units: int, alpha: float) -> Interval:
    """Two-sided interval of a share with coverage ``1 - alpha`` from its bootstrap, symmetric on the logit scale.

    The spread of ``resampled``, shape ``(draws,)``, is widened for the small number of resampled clusters (``units``): by
    sqrt(units / (units - 1)) and Student's quantile. Percentiles of refitted heads are biased: a resample holds fewer distinct
    recruiters, which pulls the share towards one half.
    """
    import numpy as np
    from scipy.special import expit, logit
    from scipy.stats import t

    if units < 2 or len(resampled) < 2:
        return Interval(figure=figure, low=0.0, high=1.0, n=units)
    edge = 1e-4
    center = float(logit(np.clip(figure, edge, 1 - edge)))
    spread = float(np.std(logit(np.clip(resampled, edge, 1 - edge)), ddof=1)) * math.sqrt(units / (units - 1))
    half_width = float(t.ppf(1 - alpha / 2, units - 1)) * spread
    return Interval(figure=figure, low=float(expit(center - half_width)), high=float(expit(center + half_width)), n=units)


def exact_share(count: int, n: int, confidence: float) -> Interval:
    """A share with its one-sided bounds at ``confidence`` each, after Clopper and Pearson (1934)."""
    from scipy.stats import beta

    low = float(beta.ppf(1 - confidence, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(confidence, count + 1, n - count)) if count < n else 1.0
    return Interval(figure=count / n if n else 0.0, low=low, high=high, n=n)
