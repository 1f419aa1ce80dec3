"""Stops a training that games its reward, and keeps the policy from before it did.

Every few steps the policy answers the same prompts with the same random numbers. It is scored by the reward that is optimised and by a
second one, with more features and fitted to other recruiters' judgments, which nothing optimises. A policy that exploits errors of the
first reward keeps gaining by it and loses by the second (Gao, Schulman and Hilton 2022, arXiv:2210.10760). The policy at the second
reward's peak is kept.

The stopping rule is a sequential test of a fall: of the mean difference between two checks' rewards, paired by prompt. Its variance is that
over prompts, plus that over fits of the second reward to resampled judgments, which may be far larger. The prompts are split in halves. At
each check, the best earlier policy is chosen on one half; on the other, a one-sided test asks whether the present policy is worse than it.
With K checks in the whole training, each test has level alpha / K. If the policy is never worse than it was before, the probability that a
training is ever stopped is at most alpha, whatever the dependence between checks (Bonferroni);
``python -m benchmarks.policy --only governor`` simulates it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from storage.events import Message
from trainers.audits.content.facts import facts_of, unsupported, values_of
from trainers.features.embedding import Item
from trainers.policy.reward_sources import RewardFunction
from trainers.policy.rollouts import Rollout
from trainers.policy.training_curve import CurvePoint


@dataclass(frozen=True)
class Check:
    """The result of one check: the point, whether it is the best so far, and why the training has to stop, or None."""

    point: CurvePoint
    best: bool
    stop: str | None


@dataclass
class Governor:
    """The checks so far.

    Attributes
    ----------
    prompts : of the training stratum, and not trained on
    proxy : the reward that is optimised
    second : the second reward, by one fit ``(n,)`` or by several ``(m, n)``, of which the first counts and the others tell how sure it is;
        None keeps the last policy and never stops
    checks : number of checks in the whole training, K
    alpha : probability of stopping a training whose policy never gets worse, at most
    proxies, seconds : rewards of each check's replies, ``(checks, prompts)`` and ``(checks, m, prompts)``
    """

    prompts: Sequence[tuple[Message, ...]]
    proxy: RewardFunction
    second: RewardFunction | None
    checks: int
    alpha: float = 0.05
    points: list[CurvePoint] = field(default_factory=list)
    proxies: list[list[float]] = field(default_factory=list)
    seconds: list[list[list[float]]] = field(default_factory=list)

    def check(self, step: int, rollouts: Sequence[Rollout], kl: float) -> Check:
        """Judge the policy by its replies to ``prompts``; ``kl`` is their mean divergence from the reference.

        The first check is of the reference itself.
        """
        items: list[Item] = [(rollout.prompt, rollout.text or "…") for rollout in rollouts]
        self.proxies.append([float(value) for value in self.proxy(items)])
        if self.second is not None:
            self.seconds.append(np.atleast_2d(np.asarray(self.second(items), float)).tolist())
        tokens = sum(len(rollout.reply_ids) for rollout in rollouts)
        self.points.append(
            CurvePoint(
                step=step,
                kl=kl,
                proxy=_standardised(self.proxies),
                second=_standardised([fits[0] for fits in self.seconds]) if self.second is not None else None,
                length=tokens / len(rollouts),
                entropy=-sum(sum(rollout.log_probabilities) for rollout in rollouts) / tokens,
                wrong_facts=_wrong_facts(items),
            )
        )
        return Check(self.points[-1], self.best == len(self.points) - 1, self._stop())

    @property
    def best(self) -> int:
        """The index of the check whose policy is kept."""
        if self.second is None:
            return len(self.points) - 1
        return int(np.argmax([np.mean(fits[0]) for fits in self.seconds]))

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The checks, with the kept one marked."""
        return tuple(point.model_copy(update={"kept": i == self.best}) for i, point in enumerate(self.points))

    def _stop(self) -> str | None:
        p = worse_than_best(np.array(self.seconds)) if len(self.seconds) > 1 else 1.0
        if p >= self.alpha / self.checks:
            return None
        kept = self.points[self.best]
        return (
            f"the second reward has fallen from {kept.second:.2f} at step {kept.step} to {self.points[-1].second:.2f} while the first went "
            f"from {kept.proxy:.2f} to {self.points[-1].proxy:.2f} (p = {p:.1g}): the policy games its reward; step {kept.step} is kept"
        )

    def state(self) -> dict[str, Any]:
        """The checks so far, for a checkpoint."""
        points = [point.model_dump(mode="json") for point in self.points]
        return {"points": points, "proxies": self.proxies, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the checks in :meth:`state`."""
        self.points = [CurvePoint.model_validate(point) for point in state["points"]]
        self.proxies, self.seconds = state["proxies"], state["seconds"]


def worse_than_best(seconds: np.ndarray) -> float:
    """The p-value of the hypothesis that the last policy is no worse than the earlier one that is best on the first half of the prompts.

    Parameters
    ----------
    seconds : the second reward of each check's replies by each fit, ``(checks, m, prompts)``; at least two checks
    """
    first, other = seconds[:, :, ::2], seconds[:, :, 1::2]
    best = int(np.argmax(first[:-1, 0].mean(axis=1)))
    fall, error = _fall(other[best], other[-1])
    if error == 0:
        return 0.0 if fall > 0 else 1.0
    return float(stats.t.sf(fall / error, max(other.shape[2] - 1, 1)))


def _fall(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The fall of the mean reward, for fits and prompts ``(m, n)``, and its standard error over prompts and fits."""
    difference = before - after
    over_prompts = difference[0].var(ddof=1) / difference.shape[1] if difference.shape[1] > 1 else 0.0
    over_fits = difference[1:].mean(axis=1).var(ddof=1) if len(difference) > 2 else 0.0
    return float(difference[0].mean()), float(np.sqrt(over_prompts + over_fits))


def _standardised(rewards: Sequence[Sequence[float]]) -> float:
    """The mean of the last check minus that of the first, in standard deviations of the first."""
    reference, now = np.array(rewards[0]), np.array(rewards[-1])
    return float((now.mean() - reference.mean()) / (reference.std() or 1.0))


def _wrong_facts(items: Sequence[Item]) -> float | None:
    checkable = [item for item in items if facts_of(item[0])]
    values = values_of([prompt for prompt, _ in checkable])
    return float(np.mean([bool(unsupported(prompt, reply, values)) for prompt, reply in checkable])) if checkable else None
