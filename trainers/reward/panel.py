"""How often would each recruiter of a panel prefer one model's replies? The posterior behind the win rate.

A hierarchical form of the evaluation head: recruiter r values a reply by ``(w + u_r)·φ``, with a taste w that the panel shares and an own
taste u_r, so that few judgments of one recruiter borrow from the others and a minority still shows. Both are Gaussian processes over the
judged differences; the posterior is Laplace's (Rasmussen and Williams, 2006, chapter 3), averaged over a grid of the two prior scales. The
cut points between the answers are fitted, so that a panel that always clicks the same strength does not stretch the scale.

An answer counts as it was given. A recruiter who clicks at random wins half the time for either model, so lapses need no term of their own;
the pull of the side that is shown first is fitted and set to zero in predictions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import t

from trainers.audits.statistics.intervals import Interval
from trainers.reward.evaluation_head import Judged, Mode, newton
from trainers.reward.online import ordinal
from trainers.reward.online.settings import HeadSettings, Positive

Scales = Annotated[tuple[Positive, ...], Field(min_length=1)]
NEGLIGIBLE = 0.05  # relative weight of a pair of scales below which it is left out
DRAWS_AT_ONCE = 50  # bounds the memory of own tastes, (draws, recruiters, d)


class PanelSettings(BaseModel):
    """Priors of a panel's tastes.

    Attributes
    ----------
    scales, own_scales : candidates for the prior standard deviation of the log-odds between two typical judged replies that the shared and
        the own tastes give; averaged over by marginal likelihood
    center, own_center, spread : the log-normal prior on the two scales
    head : first values of the cut points, and the priors of the pull of the side shown first
    cut_spread : prior standard deviation of the logarithms of the gaps between cut points
    shift_scale : prior standard deviation of the mean log-odds between two models, on top of what the tastes give; 0.5 is wide beside the
        data and takes back the overshoot that recruiters who click at random cause
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scales: Scales = (0.15, 0.4, 1.0, 2.5)
    own_scales: Scales = (0.1, 0.4, 1.2)
    center: Positive = 0.6
    own_center: Positive = 0.4
    spread: Positive = 1.0
    head: HeadSettings = HeadSettings()
    cut_spread: Positive = 0.7
    shift_scale: Positive = 0.5


@dataclass(frozen=True)
class _Site:
    """One pair of scales: the inverse covariance of the pseudo-observations, (n, n), and the pseudo-observations with their precision."""

    scale: float
    own_scale: float
    weight: float
    inverse: np.ndarray
    target: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class Panel:
    """The posterior of a panel's tastes given its judgments.

    Attributes
    ----------
    cut_points : fitted
    direction : a direction of the shared taste, ``(d,)``, with a prior of its own, see :meth:`towards`; zeros for none
    slope : multiplies every log-odds in predictions; 1 unless cross-validation said otherwise
    """

    judged: Judged
    settings: PanelSettings
    kernels: "_Kernels"
    sites: tuple[_Site, ...]
    cut_points: tuple[float, ...]
    direction: np.ndarray
    slope: float = 1.0

    @property
    def recruiters(self) -> tuple[str, ...]:
        """Their names, in the order of the columns of :meth:`win_rates`."""
        return self.kernels.names

    def towards(self, differences: np.ndarray) -> "Panel":
        """The panel refitted so that the mean log-odds over ``differences``, ``(m, d)``, are not shrunk towards zero.

        The prior pulls every log-odds towards zero, which is right for single predictions and biases their mean. So the shared taste gets
        one direction with a wide prior: the least favourable one, posterior covariance times the mean difference (van der Laan and Rubin,
        2006, "Targeted maximum likelihood learning"). Where the judgments say little about it, the interval becomes wide.
        """
        mean, judged = np.asarray(differences, float).mean(axis=0), self.judged
        best = max(self.sites, key=lambda site: site.weight)
        prior = best.scale**2 / self.kernels.size
        moved = mean - prior * (judged.differences.T @ (best.inverse @ (judged.differences @ mean)))
        along = float(mean @ moved)
        if along <= 1e-12 * max(float(mean @ mean), 1e-300):
            return self
        sign = np.sign(moved[np.argmax(np.abs(moved))])  # the same direction, and the same draws, if the two models are exchanged
        direction = self.settings.shift_scale * sign * moved / along
        sites = tuple(self._refitted(site, direction) for site in self.sites)
        return replace(self, direction=direction, sites=sites)

    def _refitted(self, site: _Site, direction: np.ndarray) -> _Site:
        along = self.judged.differences @ direction
        kernel = self.kernels.of_scales(site.scale, site.own_scale) + np.outer(along, along)
        low, high = ordinal.interval(self.judged.lower, self.judged.upper, self.cut_points)
        mode = newton(kernel, low, high, np.ones(len(self.judged)))
        return _site(site.scale, site.own_scale, site.weight, kernel, mode, low, high)

    def win_rates(self, differences: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Each recruiter's win rate in each posterior draw, ``(draws, recruiters)``, and the panel's mean on each row, ``(m,)``.

        The win rate is the weighted mean of P(first preferred) + ½·P(tie) over the rows of ``differences``, ``(m, d)``. Each draw weights
        the rows anew (Rubin, 1981, "The Bayesian bootstrap"), because the prompts are a sample too.
        """
        rng = np.random.default_rng(seed)
        differences = np.asarray(differences, float)
        tie, total = self.cut_points[0], np.empty((draws, len(self.recruiters)))
        by_row = np.zeros(len(differences))
        for start, site, count in self._batches(draws, rng):
            tastes = self._tastes(site, count, rng)
            weights = rng.standard_exponential((count, len(differences)))
            weights /= weights.sum(axis=1, keepdims=True)
            for k in range(count):
                z = self.slope * (differences @ tastes[k].T)
                wins = 0.5 * (expit(z - tie) + expit(z + tie))
                total[start + k] = weights[k] @ wins
                by_row += wins.mean(axis=1) / draws
        return total, by_row

    def _batches(self, draws: int, rng: np.random.Generator) -> Iterator[tuple[int, _Site, int]]:
        counts = rng.multinomial(draws, [site.weight for site in self.sites])
        start = 0
        for site, count in zip(self.sites, counts, strict=True):
            for first in range(0, count, DRAWS_AT_ONCE):
                taken = min(DRAWS_AT_ONCE, count - first)
                yield start, site, taken
                start += taken

    def _tastes(self, site: _Site, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of w + u_r, ``(draws, recruiters, d)``, by Matheron's rule: a draw of the prior moved by what it misses of the data.

        Wilson et al. (2020), "Efficiently sampling functions from Gaussian process posteriors" (arXiv:2002.09309), equation 9.
        """
        judged, head, who, size = self.judged, self.settings.head, self.kernels.who, self.kernels.size
        n, d = judged.differences.shape
        unit = 1 / np.sqrt(size)
        shared = rng.standard_normal((draws, d)) * site.scale * unit + rng.standard_normal((draws, 1)) * self.direction
        own = rng.standard_normal((draws, len(self.recruiters), d)) * site.own_scale * unit
        pull = rng.standard_normal((draws, 1)) * head.position_scale + rng.standard_normal((draws, len(self.recruiters))) * head.pull_scale
        at = judged.position * pull[:, who] + shared @ judged.differences.T
        for r in range(len(self.recruiters)):
            mine = who == r
            at[:, mine] += own[:, r] @ judged.differences[mine].T
        noise = rng.standard_normal((draws, n)) / np.sqrt(site.precision)
        missing = (site.target - at - noise) @ site.inverse
        shared += site.scale**2 / size * (missing @ judged.differences)
        shared += (missing @ (judged.differences @ self.direction))[:, None] * self.direction
        for r in range(len(self.recruiters)):
            mine = who == r
            own[:, r] += site.own_scale**2 / size * (missing[:, mine] @ judged.differences[mine])
        return np.asarray(shared[:, None, :] + own)


def fit_panel(judged: Judged, settings: PanelSettings | None = None) -> Panel:
    """The posterior of the tastes of the recruiters in ``judged``."""
    settings = settings or PanelSettings()
    kernels = _Kernels.of(judged, settings)
    cuts = tuple(settings.head.cut_points)
    middle = (settings.center, settings.own_center)
    for _ in range(2):
        cuts = _fitted_cuts(judged, kernels.of_scales(*middle), cuts, settings)
    low, high = ordinal.interval(judged.lower, judged.upper, cuts)
    found = []
    for scale in settings.scales:
        for own_scale in settings.own_scales:
            mode = newton(kernels.of_scales(scale, own_scale), low, high, np.ones(len(judged)))
            prior = np.log(scale / settings.center) ** 2 + np.log(own_scale / settings.own_center) ** 2
            found.append((mode.log_evidence - 0.5 * prior / settings.spread**2, scale, own_scale, mode))
    evidence = np.array([one[0] for one in found])
    weights = np.exp(evidence - evidence.max())
    weights = np.where(weights >= NEGLIGIBLE, weights, 0)
    sites = [
        _site(scale, own_scale, float(weight), kernels.of_scales(scale, own_scale), mode, low, high)
        for weight, (_, scale, own_scale, mode) in zip(weights / weights.sum(), found, strict=True)
        if weight > 0
    ]
    return Panel(judged, settings, kernels, tuple(sites), cuts, np.zeros(judged.differences.shape[1]))


def _site(scale: float, own_scale: float, weight: float, kernel: np.ndarray, mode: Mode, low: np.ndarray, high: np.ndarray) -> _Site:
    precision = ordinal.curvature(mode.latent, low, high)
    factor = cho_factor(kernel + np.diag(1 / precision), lower=True, overwrite_a=True, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(precision)), overwrite_b=True, check_finite=False)
    return _Site(scale, own_scale, weight, inverse, mode.latent + mode.dual / precision, precision)


@dataclass(frozen=True)
class _Kernels:
    """Prior covariances of the judgments' latents, ``(n, n)``, at scale 1; ``same`` marks judgments of one recruiter."""

    names: tuple[str, ...]
    who: np.ndarray
    size: float
    features: np.ndarray
    same: np.ndarray
    position: np.ndarray

    @classmethod
    def of(cls, judged: Judged, settings: PanelSettings) -> "_Kernels":
        names, who = np.unique(judged.recruiter, return_inverse=True)
        same = who[:, None] == who[None, :]
        products = judged.differences @ judged.differences.T
        size = float(np.trace(products) / max(len(judged), 1)) or 1.0
        shown = np.outer(judged.position, judged.position).astype(float)
        position = shown * (settings.head.position_scale**2 + same * settings.head.pull_scale**2)
        return cls(tuple(map(str, names)), who, size, products / size, same, position)

    def taste(self, scale: float, own_scale: float) -> np.ndarray:
        return np.asarray(self.features * (scale**2 + own_scale**2 * self.same))

    def of_scales(self, scale: float, own_scale: float) -> np.ndarray:
        return np.asarray(self.taste(scale, own_scale) + self.position)


def _fitted_cuts(judged: Judged, kernel: np.ndarray, cuts: tuple[float, ...], settings: PanelSettings) -> tuple[float, ...]:
    """The cut points that make the answers most probable given each latent's leave-one-out mean and variance."""
    low, high = ordinal.interval(judged.lower, judged.upper, cuts)
    mode = newton(kernel, low, high, np.ones(len(judged)))
    first = np.log(np.diff((0.0, *settings.head.cut_points)))

    def loss(gaps: np.ndarray) -> float:
        low, high = ordinal.interval(judged.lower, judged.upper, np.cumsum(np.exp(gaps)).tolist())
        likelihood = np.log(ordinal.expected(mode.left_out_mean, mode.left_out_variance, low, high)).sum()
        return float(0.5 * (((gaps - first) / settings.cut_spread) ** 2).sum() - likelihood)

    found = minimize(loss, np.log(np.diff((0.0, *cuts))), method="L-BFGS-B", bounds=[(-4.0, 3.0)] * len(first))
    return tuple(float(cut) for cut in np.cumsum(np.exp(found.x)))


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


def cross_validated(panel: Panel) -> Calibration:
    """Leave out one conversation after the other, predict its answers from all others, and fit the predictions' slope.

    Leaving out is by the Gaussian sites at the mode of the most probable scales (Rasmussen and Williams, 2006, equation 5.12, for groups).
    The slope maximises the likelihood of the answers, with the pull of the side shown first as an offset; its error is the sandwich's,
    clustered by conversation.
    """
    judged, kernels, site = panel.judged, panel.kernels, max(panel.sites, key=lambda site: site.weight)
    low, high = ordinal.interval(judged.lower, judged.upper, panel.cut_points)
    groups = np.unique(judged.prompt, return_inverse=True)[1]
    taste, dual = kernels.taste(site.scale, site.own_scale), site.inverse @ site.target
    n = len(judged)
    mean, offset, variance = np.zeros(n), np.zeros(n), np.zeros(n)
    for at in np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1]):
        block = np.linalg.inv(site.inverse[np.ix_(at, at)])
        without = dual - site.inverse[:, at] @ (block @ dual[at])  # zero at the group itself
        mean[at], offset[at] = taste[at] @ without, kernels.position[at] @ without
        variance[at] = np.maximum(np.diag(block) - 1 / site.precision[at], 0)
    kappa = 1 / np.sqrt(1 + np.pi * variance / 8)  # MacKay (1992), as in ordinal.expected
    slope, x = 0.0, kappa * mean
    for _ in range(50):
        z = slope * x + kappa * offset
        gradient = x * ordinal.slope(z, kappa * low, kappa * high)
        information = float((x**2 * ordinal.curvature(z, kappa * low, kappa * high)).sum()) + 1e-9
        step = float(gradient.sum()) / information
        slope += float(np.clip(step, -1, 1))
        if abs(step) < 1e-8:
            break
    scores = np.bincount(groups, weights=x * ordinal.slope(slope * x + kappa * offset, kappa * low, kappa * high))
    return Calibration(slope=slope, error=float(np.sqrt((scores**2).sum()) / information), n=len(scores))
