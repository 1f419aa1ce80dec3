"""The posterior of a panel's tastes: the judge behind the win rate.

Recruiter r values a reply by ``(w + u_r)·φ``, with a taste w that the panel shares and an own taste u_r, so that few judgments of one
recruiter borrow from the others and a minority still shows. Both are Gaussian; the posterior is Laplace's (Rasmussen and Williams, 2006,
chapter 3), averaged over a grid of the two prior scales. The cut points between the answers are fitted, so that a panel that always clicks
the same strength does not stretch the scale.

A recruiter answers at random in a share of his judgments, his lapse rate, which is fitted too. The win rate is that of his answers, lapses
included: a lapse wins half the time for either model. The pull of the side that is shown first is fitted and set to zero in predictions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trainers.reward.online.ordinal import fitted_cut_points
from trainers.reward.panel.answers import Answers
from trainers.reward.panel.covariance import Covariance, Design, Inverse
from trainers.reward.panel.judged import Judged
from trainers.reward.panel.settings import PanelSettings

NEGLIGIBLE = 0.05  # relative weight of a pair of scales below which it is left out
FAR = -5.0  # log evidence, relative to the best so far, of a pair of scales whose neighbours are not tried
CONVERGED = 1e-4  # largest change of a log-odds in Newton's last step
DRAWS_AT_ONCE = 50  # bounds the memory of own tastes, (draws, recruiters, d)


@dataclass(frozen=True)
class Site:
    """One pair of scales: Laplace's posterior as the prior covariance with pseudo-observations ``target`` of ``precision``, ``(n,)``."""

    scale: float
    own_scale: float
    weight: float
    covariance: Covariance
    inverse: Inverse
    target: np.ndarray
    precision: np.ndarray
    latent: np.ndarray


@dataclass(frozen=True)
class Panel:
    """The posterior of a panel's tastes given its judgments, which are sorted by recruiter.

    Attributes
    ----------
    answers : with the fitted cut points and lapse rates
    lapses : a Beta's two counts of each recruiter's lapse rate, ``(R, 2)``
    direction : a direction of the shared taste, ``(d,)``, with a prior of its own, see :meth:`towards`; zeros for none
    slope : multiplies every log-odds in predictions; 1 unless cross-validation said otherwise
    """

    judged: Judged
    settings: PanelSettings
    design: Design
    sites: tuple[Site, ...]
    answers: Answers
    cut_points: tuple[float, ...]
    lapses: np.ndarray
    direction: np.ndarray
    slope: float = 1.0

    @property
    def recruiters(self) -> tuple[str, ...]:
        """Their names, in the order of the columns of :meth:`win_rates`."""
        return self.design.names

    @property
    def best(self) -> Site:
        """The most probable pair of scales."""
        return max(self.sites, key=lambda site: site.weight)

    def margins(self, differences: np.ndarray) -> np.ndarray:
        """The posterior mean of the log-odds that the first reply is preferred, over the panel, for ``differences``, ``(m, d)``."""
        taste = np.zeros(self.judged.differences.shape[1])
        for site in self.sites:
            dual = site.inverse.times(site.target)
            each = np.stack([dual[at] @ self.judged.differences[at] for at in self.design.slices])
            taste += site.weight / self.design.size * (site.scale**2 * each.sum(axis=0) + site.own_scale**2 * each.mean(axis=0))
            taste += site.weight * float(dual @ (self.judged.differences @ self.direction)) * self.direction
        return np.asarray(self.slope * (np.asarray(differences, float) @ taste))

    def towards(self, differences: np.ndarray) -> "Panel":
        """The panel refitted so that the mean log-odds over ``differences``, ``(m, d)``, are shrunk less towards zero.

        The prior pulls every log-odds towards zero, which is right for single predictions and biases their mean. So the shared taste gets
        one direction with a prior of its own: the least favourable one, posterior covariance times the mean difference (van der Laan and
        Rubin, 2006, "Targeted maximum likelihood learning"). Where the judgments say little about it, the interval becomes wide.
        """
        mean, judged = np.asarray(differences, float).mean(axis=0), self.judged
        prior = self.best.scale**2 / self.design.size
        moved = mean - prior * (judged.differences.T @ self.best.inverse.times(judged.differences @ mean))
        along = float(mean @ moved)
        if along <= 1e-12 * max(float(mean @ mean), 1e-300):
            return self
        sign = np.sign(moved[np.argmax(np.abs(moved))])  # the same direction, and the same draws, if the two models are exchanged
        direction = self.settings.shift_scale * sign * moved / along
        on_it = judged.differences @ direction
        sites = []
        for site in self.sites:
            covariance = _covariance(self.design, self.settings, site.scale, site.own_scale, on_it)
            mode = newton(covariance, self.answers, site.latent)
            sites.append(_site(site.scale, site.own_scale, site.weight, covariance, mode, self.answers))
        return replace(self, direction=direction, sites=tuple(sites))

    def win_rates(self, differences: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Each recruiter's win rate in each posterior draw, ``(draws, recruiters)``, and the panel's mean on each row, ``(draws, m)``.

        The win rate is the weighted mean of P(first preferred) + ½·P(tie), lapses included, over the rows of ``differences``, ``(m, d)``.
        Each draw weights the rows anew (Rubin, 1981, "The Bayesian bootstrap"), because the prompts are a sample too.
        """
        rng = np.random.default_rng(seed)
        differences = np.asarray(differences, float)
        tie, total = self.cut_points[0], np.empty((draws, len(self.recruiters)))
        by_row = np.empty((draws, len(differences)))
        for start, site, count in self._batches(draws, rng):
            tastes = self._tastes(site, count, rng)
            lapses = rng.beta(self.lapses[:, 0], self.lapses[:, 1], size=(count, len(self.recruiters)))
            weights = rng.standard_exponential((count, len(differences)))
            weights /= weights.sum(axis=1, keepdims=True)
            for k in range(count):
                z = self.slope * (differences @ tastes[k].T)
                wins = 0.5 + (1 - lapses[k]) * half_ties(z, tie)
                total[start + k] = weights[k] @ wins
                by_row[start + k] = wins.mean(axis=1)
        return total, by_row

    def _batches(self, draws: int, rng: np.random.Generator) -> Iterator[tuple[int, Site, int]]:
        counts = rng.multinomial(draws, [site.weight for site in self.sites])
        start = 0
        for site, count in zip(self.sites, counts, strict=True):
            for first in range(0, count, DRAWS_AT_ONCE):
                taken = min(DRAWS_AT_ONCE, count - first)
                yield start, site, taken
                start += taken

    def _tastes(self, site: Site, draws: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of w + u_r, ``(draws, recruiters, d)``, by Matheron's rule: a draw of the prior moved by what it misses of the data.

        Wilson et al. (2020), "Efficiently sampling functions from Gaussian process posteriors" (arXiv:2002.09309), equation 9.
        """
        judged, settings, design = self.judged, self.settings, self.design
        n, d = judged.differences.shape
        unit = 1 / np.sqrt(design.size)
        shared = rng.standard_normal((draws, d)) * site.scale * unit + rng.standard_normal((draws, 1)) * self.direction
        own = rng.standard_normal((draws, len(self.recruiters), d)) * site.own_scale * unit
        pull = rng.standard_normal((draws, 1)) * settings.position_scale
        pull = pull + rng.standard_normal((draws, len(self.recruiters))) * settings.pull_scale
        at = judged.position * pull[:, design.who] + shared @ judged.differences.T
        for r, mine in enumerate(design.slices):
            at[:, mine] += own[:, r] @ judged.differences[mine].T
        noise = rng.standard_normal((draws, n)) / np.sqrt(site.precision)
        missing = site.inverse.times((site.target - at - noise).T).T
        shared += site.scale**2 / design.size * (missing @ judged.differences)
        shared += (missing @ (judged.differences @ self.direction))[:, None] * self.direction
        for r, mine in enumerate(design.slices):
            own[:, r] += site.own_scale**2 / design.size * (missing[:, mine] @ judged.differences[mine])
        return np.asarray(shared[:, None, :] + own)


def half_ties(z: np.ndarray, tie: float) -> np.ndarray:
    """P(first preferred) + ½·P(tie) - ½ at log-odds ``z`` with ties between ``-tie`` and ``tie``.

    It is ``(sigmoid(z - tie) + sigmoid(z + tie)) / 2 - 1/2``, written with one exponential: draws spend most of their time here.
    """
    small = np.exp(-np.abs(z))
    square = small * small
    return np.asarray(np.copysign(0.5 * (1 - square) / (1 + 2 * np.cosh(tie) * small + square), z))


def fit_panel(judged: Judged, settings: PanelSettings | None = None) -> Panel:
    """The posterior of the tastes of the recruiters in ``judged``."""
    settings = settings or PanelSettings()
    judged = judged.at(np.argsort(judged.recruiter, kind="stable"))
    design = Design.of(judged)
    cuts, lapses = _cuts_and_lapses(judged, design, settings)
    answers = Answers.of(judged, cuts, _rates(lapses)[design.who])
    found = _by_scales(design, settings, answers)
    evidence = {pair: mode.log_evidence - _surprise(pair, settings) for pair, mode in found.items()}
    highest = max(evidence.values())
    weights = {pair: weight for pair in found if (weight := float(np.exp(evidence[pair] - highest))) >= NEGLIGIBLE}
    total = sum(weights.values())
    sites = [_site(*pair, weights[pair] / total, _covariance(design, settings, *pair), found[pair], answers) for pair in sorted(weights)]
    return Panel(judged, settings, design, tuple(sites), answers, cuts, lapses, np.zeros(judged.differences.shape[1]))


def _by_scales(design: Design, settings: PanelSettings, answers: Answers) -> dict[tuple[float, float], "Mode"]:
    """The mode at each pair of scales that may have weight, from the middle of the grid as far as the evidence stays near the best."""
    scales, own_scales = sorted(settings.scales), sorted(settings.own_scales)
    waiting = [(int(np.argmin(np.abs(np.log(scales) - np.log(settings.center)))), len(own_scales) // 2)]
    found: dict[tuple[float, float], Mode] = {}
    seen, best, latent = set(waiting), -np.inf, np.zeros(len(design.who))
    while waiting:
        i, j = waiting.pop(0)
        pair = scales[i], own_scales[j]
        found[pair] = mode = newton(_covariance(design, settings, *pair), answers, latent)
        evidence, latent = mode.log_evidence - _surprise(pair, settings), mode.latent
        best = max(best, evidence)
        if evidence < best + FAR:
            continue
        for near in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if near not in seen and 0 <= near[0] < len(scales) and 0 <= near[1] < len(own_scales):
                seen.add(near)
                waiting.append(near)
    return found


def _surprise(pair: tuple[float, float], settings: PanelSettings) -> float:
    """The negative logarithm of the prior on the two scales."""
    scale, own_scale = pair
    return float((np.log(scale / settings.center) ** 2 + np.log(own_scale / settings.own_center) ** 2) / (2 * settings.spread**2))


@dataclass(frozen=True)
class Mode:
    """The posterior's mode: ``latent``, and ``dual``, the gradient of the log-likelihood there, from which the tastes are computed."""

    latent: np.ndarray
    dual: np.ndarray
    log_evidence: float


def newton(covariance: Covariance, answers: Answers, start: np.ndarray) -> Mode:
    """The mode of latents with this prior ``covariance``; the first step is taken from the latents ``start``, ``(n,)``."""
    dual, latent, value = np.zeros(len(start)), start, -np.inf
    for _ in range(100):
        precision = answers.curvature(latent)
        wanted = precision * latent + answers.slope(latent)
        full_step = wanted - covariance.with_precision(precision).times(covariance.times(wanted))
        before = latent
        for halving in range(20):
            trial = dual + (full_step - dual) * 0.5**halving
            latent = covariance.times(trial)
            new = float(answers.log_likelihood(latent).sum() - 0.5 * trial @ latent)
            if new >= value - 1e-12 * abs(value):
                break
        dual, value = trial, new
        if np.abs(latent - before).max() < CONVERGED:
            break
    log_determinant = covariance.with_precision(answers.curvature(latent)).log_determinant
    return Mode(latent, dual, value - 0.5 * log_determinant)


def _covariance(design: Design, settings: PanelSettings, scale: float, own_scale: float, along: np.ndarray | None = None) -> Covariance:
    return design.covariance(scale, own_scale, settings.position_scale, settings.pull_scale, along)


def _site(scale: float, own_scale: float, weight: float, covariance: Covariance, mode: Mode, answers: Answers) -> Site:
    precision = answers.curvature(mode.latent)
    target = mode.latent + mode.dual / precision
    return Site(scale, own_scale, weight, covariance, covariance.with_precision(precision), target, precision, mode.latent)


def _cuts_and_lapses(judged: Judged, design: Design, settings: PanelSettings) -> tuple[tuple[float, ...], np.ndarray]:
    """The cut points, and the two counts of each recruiter's lapse rate, by EM given each latent's leave-one-out mean and variance."""
    covariance = _covariance(design, settings, settings.center, settings.own_center)
    cuts: tuple[float, ...] = settings.cut_points
    judgments = np.bincount(design.who)
    lapses = np.tile([settings.lapsed, settings.attentive], (len(judgments), 1)).astype(float)
    latent = np.zeros(len(judged))
    for _ in range(settings.rounds):
        answers = Answers.of(judged, cuts, _rates(lapses)[design.who])
        mode = newton(covariance, answers, latent)
        site, latent = _site(settings.center, settings.own_center, 1.0, covariance, mode, answers), mode.latent
        own = site.inverse.diagonal()  # Rasmussen and Williams (2006), equation 5.12
        mean, variance = site.target - site.inverse.times(site.target) / own, np.maximum(1 / own - 1 / site.precision, 0)
        lapsed = np.bincount(design.who, weights=answers.lapsed(mean, variance), minlength=len(judgments))
        lapses = np.column_stack([settings.lapsed + lapsed, settings.attentive + judgments - lapsed])
        cuts = _fitted_cuts(judged, _rates(lapses)[design.who], mean, variance, cuts, settings)
    return cuts, lapses


def _fitted_cuts(
    judged: Judged, lapse: np.ndarray, mean: np.ndarray, variance: np.ndarray, cuts: tuple[float, ...], settings: PanelSettings
) -> tuple[float, ...]:
    """The cut points that make the answers most probable."""

    def log_likelihood(at: Sequence[float]) -> float:
        answers = Answers.of(judged, at, lapse)
        return float(np.log((1 - lapse) * answers.by_taste(mean, variance) + lapse * answers.chance).sum())

    return fitted_cut_points(log_likelihood, settings.cut_points, settings.cut_spread, cuts)


def _rates(lapses: np.ndarray) -> np.ndarray:
    """The mean lapse rates, ``(R,)``."""
    return np.asarray(lapses[:, 0] / lapses.sum(axis=1))
