"""Intervals that several audits share: of a mean over clusters, of a paired difference of shares, and on the logit scale."""

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np


class Interval(BaseModel):
    """A figure with the bounds of its interval, on ``n`` units."""

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
    """Two-sided Student interval of a mean of independent units, infinitely wide for fewer than two; ``values`` has shape ``(n,)``."""
    import numpy as np
    from scipy.stats import t

    n = len(values)
    figure = float(np.mean(values)) if n else 0.0
    if n < 2:
        return Interval(figure=figure, low=-math.inf, high=math.inf, n=n)
    reach = float(t.ppf((1 + confidence) / 2, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(figure=figure, low=figure - reach, high=figure + reach, n=n)


def paired_shares(more: int, fewer: int, n: int, confidence: float) -> Interval:
    """The difference of two shares over the same ``n`` units, with one-sided bounds of ``confidence`` each.

    The bounds are those of Agresti and Min (2005), "Simple improved confidence intervals for comparing matched proportions": Wald's after
    half a unit has been added to each cell of the two-by-two table. The figure is the plain difference.

    Parameters
    ----------
    more, fewer : units that count for the first share only, and for the second only
    """
    from scipy.stats import norm

    size = n + 2
    center = (more - fewer) / size
    variance = ((more + fewer + 1) - (more - fewer) ** 2 / size) / size**2
    reach = float(norm.ppf(confidence)) * math.sqrt(variance)
    return Interval(figure=(more - fewer) / n if n else 0.0, low=center - reach, high=center + reach, n=n)


def logit_interval(figure: float, redrawn: "np.ndarray", units: int, alpha: float) -> Interval:
    """A share's two-sided interval of coverage ``1 - alpha`` from its bootstrap, symmetric on the logit scale.

    The spread of ``redrawn``, shape ``(draws,)``, is widened for the few clusters that were resampled (``units``): by
    sqrt(units / (units - 1)) and Student's quantile. Percentiles of refitted heads would not do: a resample holds fewer different
    recruiters, and pulls the share to one half.
    """
    import numpy as np
    from scipy.special import expit, logit
    from scipy.stats import t

    if units < 2 or len(redrawn) < 2:
        return Interval(figure=figure, low=0.0, high=1.0, n=units)
    edge = 1e-4
    center = float(logit(np.clip(figure, edge, 1 - edge)))
    spread = float(np.std(logit(np.clip(redrawn, edge, 1 - edge)), ddof=1)) * math.sqrt(units / (units - 1))
    reach = float(t.ppf(1 - alpha / 2, units - 1)) * spread
    return Interval(figure=figure, low=float(expit(center - reach)), high=float(expit(center + reach)), n=units)
