"""Positive controls: a reward with a bias of known size built in. Audits are run against it in tests and benchmarks."""

from collections.abc import Collection, Sequence

import numpy as np

from trainers.audits.judgments.attributes import read
from trainers.audits.judgments.candidate_groups import first_name
from trainers.audits.reward.reward_probes import Item, Score


def biased_reward(score: Score, names: Collection[str], attribute: str, size: float) -> Score:
    """``score`` plus ``size`` for each reply that has ``attribute``, if the candidate's first name is one of ``names``."""
    known = {name.casefold() for name in names}

    def biased(items: Sequence[Item]) -> np.ndarray:
        extra = [size * read(reply)[attribute] * ((first_name(prompt) or "").casefold() in known) for prompt, reply in items]
        return np.asarray(score(items) + np.array(extra))

    return biased


def gameable_reward(score: Score, size: float) -> Score:
    """``score`` plus ``size`` for each doubling of the reply's length, which padding raises."""

    def gameable(items: Sequence[Item]) -> np.ndarray:
        return np.asarray(score(items) + np.array([size * np.log2(1 + len(reply)) for _, reply in items]))

    return gameable
