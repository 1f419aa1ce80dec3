"""Rebuild the online head from every judgment that it holds: weights, cut points, recruiters, and each judgment's site.

Between reconciliations a judgment's site stays where it was linearised when it was learnt, and a removed judgment's effect on later sites
remains. Reconciliations happen at fixed sequence numbers, so that a replay reconciles where the live head did.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache

import numpy as np
from threadpoolctl import OpenBLASController, ThreadpoolController

from trainers.reward.online import ordinal, recruiters
from trainers.reward.online.head import Head, new_head
from trainers.reward.online.history import STORED
from trainers.reward.online.posterior import Answers, most_probable, posterior_at, spread_at
from trainers.reward.online.recruiters import Recruiter
from trainers.reward.online.settings import HeadSettings


def _no_pause() -> None:
    """No-op pause."""


def reconcile(head: Head, pause: Callable[[], None] = _no_pause) -> Head:
    """The head with its posterior rebuilt from the prior and every judgment it holds, as if removed ones had never been learnt.

    Cut points and recruiters are fitted from fixed starting values, weights by Newton's method, and sites at the most probable weights.
    ``learn_all`` continues from the result at fixed sequence numbers; elsewhere it is a more exact copy for reading (a snapshot's
    evaluation), which must not replace the learning head. ``pause`` is called between the expensive steps, so that a caller can yield the
    CPU.
    """
    with single_threaded_blas():
        return _reconciled(head, pause)


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


def _reconciled(head: Head, pause: Callable[[], None]) -> Head:
    settings, history = head.settings, head.history
    rows, names = history.rows(), history.names
    fresh = new_head(settings, head.embedding_hash, head.dimension, head.sources)
    if not len(rows):
        seen = head.judgments_seen
        return replace(fresh, sequence=head.sequence, judgments_seen=seen, reconciled_at=head.sequence)
    differences = np.concatenate([history.differences(), rows["position"][:, None].astype(STORED)], axis=1)
    precision = 1 / np.diag(fresh.covariance)
    age = _age_weights(rows["occurred_at"], settings.half_life_days)
    cuts: tuple[float, ...] = settings.cut_points
    found = dict.fromkeys(names, settings.recruiter_prior.start)
    mean = np.zeros(head.dimension + 1)
    for round_ in range(settings.rounds + 1):
        pause()
        answers = _answers(rows, differences, names, found, cuts, age)
        last = round_ == settings.rounds
        mean = most_probable(answers, precision, mean, tolerance=1e-10 if last else 1e-3)
        if not last:
            pause()
            center, variance = _left_out(mean, answers, precision)
            cuts = _fitted_cuts(rows, names, found, center, variance, cuts, settings)
            low, high = ordinal.interval(rows["lower"], rows["upper"], cuts)
            found = recruiters.step(found, settings.recruiter_prior, names, rows, center, variance, low, high)
    pause()
    posterior = posterior_at(mean, answers, precision)
    h, slope = _curvature_and_slope(answers, posterior.latent)
    rows["site_precision"] = answers.scale**2 * h
    rows["site_linear"] = answers.scale * (h * (posterior.latent - answers.offset) + slope)
    return replace(
        head,
        mean=mean,
        covariance=posterior.covariance,
        cut_points=cuts,
        history=history.settle(rows),
        recruiters={name: found[name] for name in sorted(found)},
        marked=False,
        reconciled_at=head.sequence,
    )


def _answers(
    rows: np.ndarray,
    differences: np.ndarray,
    names: Sequence[str],
    found: Mapping[str, Recruiter],
    cuts: Sequence[float],
    age: np.ndarray,
) -> Answers:
    pull, scale, weight = (
        np.array(values)[rows["recruiter"]]
        for values in zip(*((found[name].pull, found[name].scale, found[name].weight) for name in names), strict=True)
    )
    low, high = ordinal.interval(rows["lower"], rows["upper"], cuts)
    return Answers(differences, low, high, scale * pull * rows["position"], weight * age, scale)


def _left_out(mean: np.ndarray, answers: Answers, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each answer's ``delta @ w`` without its own site: a judgment must not vouch for its own recruiter."""
    latent, spread = spread_at(mean, answers, precision)
    h, slope = _curvature_and_slope(answers, latent)
    remaining = 1 - h * spread
    left_out = latent - answers.offset - spread * slope / remaining
    return left_out / answers.scale, spread / remaining / answers.scale**2


def _fitted_cuts(
    rows: np.ndarray,
    names: Sequence[str],
    found: Mapping[str, Recruiter],
    center: np.ndarray,
    variance: np.ndarray,
    start: Sequence[float],
    settings: HeadSettings,
) -> tuple[float, ...]:
    """The cut points that make the answers most probable, lapses included; ``center`` and ``variance`` as from :func:`_left_out`."""
    lapse, pull, scale = (
        np.array(values)[rows["recruiter"]]
        for values in zip(*((found[name].lapse, found[name].pull, found[name].scale) for name in names), strict=True)
    )
    z, spread = recruiters.latent(center, variance, pull * rows["position"], scale)
    chance = (rows["upper"].astype(int) - rows["lower"] + 1) / (2 * ordinal.LEVELS + 1)

    def log_likelihood(at: Sequence[float]) -> float:
        by_taste = ordinal.expected(z, spread, *ordinal.interval(rows["lower"], rows["upper"], at))
        return float(np.log((1 - lapse) * by_taste + lapse * chance).sum())

    return ordinal.fitted_cut_points(log_likelihood, settings.cut_points, settings.cut_spread, start)


def _curvature_and_slope(answers: Answers, latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each answer's weighted log-likelihood."""
    h = answers.weight * ordinal.curvature(latent, answers.low, answers.high)
    return h, answers.weight * ordinal.slope(latent, answers.low, answers.high)


def _age_weights(occurred_at: np.ndarray, half_life_days: float | None) -> np.ndarray:
    if half_life_days is None:
        return np.ones(len(occurred_at))
    return np.asarray(np.exp2((occurred_at - occurred_at.max()) / (half_life_days * 86_400)))
