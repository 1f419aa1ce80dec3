"""Rebuild the online head from every judgment that it holds: weights, cut points, recruiters, and each judgment's site.

Between reconciliations a judgment's site stays where it was linearised when it was learnt, and a removed judgment's effect on later sites
remains. Reconciliations happen at fixed sequence numbers, so that a replay reconciles where the live head did.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from threadpoolctl import OpenBLASController, ThreadpoolController

from trainers.reward.online import ordinal, recruiters
from trainers.reward.online.head import Head, Taste
from trainers.reward.online.history import UNANSWERED
from trainers.reward.online.posterior import Answers, most_probable, posterior_at, spread_at
from trainers.reward.online.recruiters import Recruiter

WIDENED_ROWS = 32_768  # up to so many differences are widened to single precision once, in 50 MB; more of them block by block each time
VARIANCE_ROUNDS = (0, 1, 3, 6)  # EM rounds in which variances are computed: they cost most, and change little after the first


def _no_pause() -> None:
    """No-op pause."""


def reconcile(head: Head, pause: Callable[[], None] = _no_pause, threads: int = 1) -> Head:
    """The head with its posterior rebuilt from the prior and every judgment it holds, as if removed ones had never been learnt.

    Cut points and recruiters are fitted from fixed starting values, weights by Newton's method, and sites at the most probable weights.
    ``learn_all`` continues from the result at fixed sequence numbers; elsewhere it is a more exact copy for reading (a snapshot's
    evaluation), which must not replace the learning head. ``pause`` is called between the expensive steps, so that a caller can yield the
    CPU. ``threads`` questions are fitted at a time; the result is the same.
    """
    with single_threaded_blas():
        return _reconciled(head, pause, threads)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


class _SingleThreadedBLAS(AbstractContextManager[None]):
    """The limit is per process, so the first of several threads to enter sets it and the last to leave lifts it.

    threadpoolctl lets a single thread control OpenBLAS's limit and silently ignores others until that one is done, so the controlling
    thread is cleared after each change.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._entered = 0

    def __enter__(self) -> None:
        with self._guard:
            if self._entered == 0:
                self._limit = _libraries().limit(limits=1, user_api="blas")
                OpenBLASController.clear_controlling_thread(force=True)
            self._entered += 1

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._entered -= 1
            if self._entered == 0:
                self._limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread(force=True)


_blas_limit = _SingleThreadedBLAS()


def single_threaded_blas() -> AbstractContextManager[None]:
    """Limit BLAS to one thread: the order of summation, and so the weights' bits, must not depend on the number of cores."""
    return _blas_limit


def _reconciled(head: Head, pause: Callable[[], None], threads: int) -> Head:
    rows, differences = head.history.rows(), head.history.differences()
    kept = np.float32 if len(rows) <= WIDENED_ROWS else differences.dtype
    differences = np.concatenate([differences, rows["position"][:, None]], axis=1, dtype=kept)

    def fitted(at: int) -> Taste:
        answered = np.flatnonzero(rows["lower"][:, at] != UNANSWERED)
        everything = len(answered) == len(rows)
        sites = _Sites(at, rows if everything else rows[answered])
        taste = _fitted(sites, differences if everything else differences[answered], head, pause)
        rows["site_precision"][answered, at], rows["site_linear"][answered, at] = sites.precision, sites.linear
        return taste

    questions = head.settings.questions
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            tastes = dict(zip(questions, pool.map(fitted, range(len(questions))), strict=True))
    else:
        tastes = {question: fitted(at) for at, question in enumerate(questions)}
    return replace(head, tastes=tastes, history=head.history.settle(rows), marked=False, reconciled_at=head.sequence)


@dataclass
class _Sites:
    """The rows that answer the question at place ``at``, and their sites once they are fitted."""

    at: int
    rows: np.ndarray

    def __post_init__(self) -> None:
        self.lower, self.upper = self.rows["lower"][:, self.at], self.rows["upper"][:, self.at]
        self.precision, self.linear = np.zeros(len(self.rows)), np.zeros(len(self.rows))


def _fitted(sites: _Sites, differences: np.ndarray, head: Head, pause: Callable[[], None]) -> Taste:
    settings, rows = head.settings, sites.rows
    prior = Taste.prior(settings, head.dimension)
    if not len(rows):
        return prior
    precision = 1 / np.diag(prior.covariance)
    age = _age_weights(rows["occurred_at"], settings.half_life_days)
    cuts: tuple[float, ...] = settings.cut_points
    names, who = np.unique(np.array(head.history.names)[rows["recruiter"]], return_inverse=True)  # sorted: bits depend on the order
    found = [settings.recruiter_prior.start] * len(names)
    weight = age * settings.recruiter_prior.start.weight
    mean, variance = np.zeros(head.dimension + 1), np.zeros(len(rows))
    for round_ in range(settings.rounds + 1):
        pause()
        answers = _answers(sites, differences, who, found, cuts, weight)
        last = round_ == settings.rounds
        mean = most_probable(answers, precision, mean, tolerance=1e-10 if last else 1e-3)
        if not last:
            pause()
            if round_ in VARIANCE_ROUNDS:
                variance = _left_out_variance(mean, answers, precision)
            left_out = _left_out_mean(mean, answers, variance)
            given = recruiters.Given(who, rows["position"], sites.lower, sites.upper, left_out, variance)
            cuts = given.fitted_cut_points(found, cuts, settings.cut_points, settings.cut_spread)
            found = given.step(found, settings.recruiter_prior, cuts)
            weight = age * given.attentive(found, cuts)
    pause()
    posterior = posterior_at(mean, answers, precision)
    h, slope = _curvature_and_slope(answers, posterior.latent)
    sites.precision = answers.scale**2 * h
    sites.linear = answers.scale * (h * (posterior.latent - answers.offset) + slope)
    return Taste(mean, posterior.covariance, cuts, dict(zip(names.tolist(), found, strict=True)))


def _answers(
    sites: _Sites, differences: np.ndarray, who: np.ndarray, found: Sequence[Recruiter], cuts: Sequence[float], weight: np.ndarray
) -> Answers:
    pull, scale = (np.array(values)[who] for values in zip(*((each.pull, each.scale) for each in found), strict=True))
    low, high = ordinal.interval(sites.lower, sites.upper, cuts)
    return Answers(differences, low, high, scale * pull * sites.rows["position"], weight, scale)


def _left_out_variance(mean: np.ndarray, answers: Answers, precision: np.ndarray) -> np.ndarray:
    """The variance of each answer's ``delta @ w`` without its own site, ``(n,)``: a judgment must not vouch for its own recruiter."""
    variance = spread_at(mean, answers, precision)
    h, _ = _curvature_and_slope(answers, answers.latents(mean))
    return np.asarray(variance / (1 - h * answers.scale**2 * variance))


def _left_out_mean(mean: np.ndarray, answers: Answers, variance: np.ndarray) -> np.ndarray:
    """The mean of each answer's ``delta @ w`` without its own site, ``(n,)``, for the variance of :func:`_left_out_variance`."""
    latent = answers.latents(mean)
    _, slope = _curvature_and_slope(answers, latent)
    return np.asarray((latent - answers.offset) / answers.scale - answers.scale * variance * slope)


def _curvature_and_slope(answers: Answers, latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each answer's weighted log-likelihood."""
    h = answers.weight * ordinal.curvature(latent, answers.low, answers.high)
    return h, answers.weight * ordinal.slope(latent, answers.low, answers.high)


def _age_weights(occurred_at: np.ndarray, half_life_days: float | None) -> np.ndarray:
    if half_life_days is None:
        return np.ones(len(occurred_at))
    return np.asarray(np.exp2((occurred_at - occurred_at.max()) / (half_life_days * 86_400)))
