"""Rebuild the online head from every judgment that it holds: most probable weights, recruiters, and each judgment's site.

Between reconciliations a judgment's site stays where it was linearised when it came, and what a removed one had moved stays moved. Part of
the fold at fixed sequence numbers, so that a replay reconciles where the live head did.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache

import numpy as np
from threadpoolctl import OpenBLASController, ThreadpoolController

from trainers.reward.online import ordinal, recruiters
from trainers.reward.online.head import Head, new_head
from trainers.reward.online.posterior import Answers, most_probable, posterior_at, spread_at


def _at_once() -> None:
    """The pause of one who wants the result soon."""


def reconcile(head: Head, pause: Callable[[], None] = _at_once) -> Head:
    """The head whose posterior is rebuilt from the prior and every judgment it holds, as if the removed ones had never been.

    Recruiters are fitted from fixed starting values, weights by Newton to the most probable ones, the sites at these. ``learn_all`` takes
    it over at fixed sequence numbers; elsewhere it makes a copy that is better for reading (a snapshot's evaluation) and that must not go
    on learning in the first one's place. ``pause`` is called now and then, for one who would rather leave the core to others meanwhile.
    """
    with one_thread():
        return _reconciled(head, pause)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


class _OneThread(AbstractContextManager[None]):
    """The limit is the process's, so the first of several threads to enter sets it and the last to leave lifts it.

    threadpoolctl lets one thread alone set OpenBLAS's limit, and silently ignores the others until that one is done; so after each change
    it is told that nobody holds on to it.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._within = 0

    def __enter__(self) -> None:
        with self._guard:
            if self._within == 0:
                self._limit = _libraries().limit(limits=1, user_api="blas")
                OpenBLASController.clear_controlling_thread(force=True)
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._within -= 1
            if self._within == 0:
                self._limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread(force=True)


_one = _OneThread()


def one_thread() -> AbstractContextManager[None]:
    """Two threads of linear algebra add up in another order than one: the weights' bits must not depend on the machine's cores."""
    return _one


def _reconciled(head: Head, pause: Callable[[], None]) -> Head:
    settings, history = head.settings, head.history
    rows, names = history.rows(), history.names
    fresh = new_head(settings, head.embedding_hash, head.dimension, head.sources)
    if not len(rows):
        seen = head.judgments_seen
        return replace(fresh, sequence=head.sequence, judgments_seen=seen, reconciled_at=head.sequence)
    differences = np.concatenate([history.differences(), rows["position"][:, None].astype("<f4")], axis=1)
    precision = 1 / np.diag(fresh.covariance)
    low, high = ordinal.interval(rows["lower"], rows["upper"], settings.cut_points)
    age = _age_weights(rows["occurred_at"], settings.half_life_days)
    found = dict.fromkeys(names, settings.recruiter_prior.start)
    mean = np.zeros(head.dimension + 1)
    for round_ in range(settings.rounds + 1):
        pause()
        pull = np.array([found[name].pull for name in names])[rows["recruiter"]] * rows["position"]
        weight = np.array([found[name].weight for name in names])[rows["recruiter"]] * age
        answers = Answers(differences, low, high, pull, weight)
        last = round_ == settings.rounds
        mean = most_probable(answers, precision, mean, tolerance=1e-10 if last else 1e-3)
        if not last:
            pause()
            latent, spread = spread_at(mean, answers, precision)
            h, slope = _curvature_and_slope(answers, latent)
            kept = 1 - h * spread  # leave each judgment out before asking how well its recruiter was foreseen
            left_out = latent - pull - spread * slope / kept
            found = recruiters.step(found, settings.recruiter_prior, names, rows, left_out, spread / kept, low, high)
    pause()
    posterior = posterior_at(mean, answers, precision)
    h, slope = _curvature_and_slope(answers, posterior.latent)
    rows["site_precision"], rows["site_linear"] = h, h * (posterior.latent - pull) + slope
    return replace(
        head,
        mean=mean,
        covariance=posterior.covariance,
        history=history.settle(rows),
        recruiters={name: found[name] for name in sorted(found)},
        marked=False,
        reconciled_at=head.sequence,
    )


def _curvature_and_slope(answers: Answers, latent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each answer's weighted log-likelihood."""
    h = answers.weight * ordinal.curvature(latent, answers.low, answers.high)
    return h, answers.weight * ordinal.slope(latent, answers.low, answers.high)


def _age_weights(occurred_at: np.ndarray, half_life_days: float | None) -> np.ndarray:
    if half_life_days is None:
        return np.ones(len(occurred_at))
    return np.asarray(np.exp2((occurred_at - occurred_at.max()) / (half_life_days * 86_400)))
