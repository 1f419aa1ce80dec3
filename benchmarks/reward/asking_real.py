"""The curve of asking on real judgments: PandaLM's 434 pairs, asked at random or the most informative first.

In each of ten divisions by prompt, a third of the pairs is held out. Accuracy on these is reported after some numbers of judgments, with
both ways of asking; the interval of the difference is a bootstrap over divisions. There is no target: the pool is small, and all its pairs
are asked in the end.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.figures import Figure
from benchmarks.reward.data import HELPFUL, SETTINGS, embedded
from benchmarks.reward.labels import BATCH, UNIFORM
from trainers.data.preference import Entry, Preference
from trainers.reward.asking import most_informative
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings

DIVISIONS, AT = 10, (50, 100, 200)


def figures(quick: bool) -> Sequence[Figure]:
    """Accuracy of both ways after each number of judgments, and their difference."""
    preferences = [each for each in embedded(HELPFUL) if each.choice in ("A", "B")]
    found = np.array([_curves(preferences, seed) for seed in range(2 if quick else DIVISIONS)])  # (divisions, ways, numbers)
    rng = np.random.default_rng(0)
    rows = []
    for column, n in enumerate(AT):
        random, informative = found[:, 0, column], found[:, 1, column]
        draws = [(informative - random)[rng.integers(len(found), size=len(found))].mean() for _ in range(2_000)]
        low, high = np.quantile(draws, (0.025, 0.975))
        unit = f"accuracy at {n} of {len(preferences)}: random {random.mean():.3f}, informative {informative.mean():.3f}"
        rows.append(Figure(f"pandalm_informative_minus_random_{n}", float((informative - random).mean()), float(low), float(high), unit))
    return rows


def _curves(preferences: Sequence[Preference], seed: int) -> np.ndarray:
    """Held-out accuracy after each number of ``AT``, of random and of informative asking, ``(2, len(AT))``."""
    rng = np.random.default_rng(seed)
    prompts = rng.permutation(sorted({each.conversation_id for each in preferences}))
    held = set(prompts[: len(prompts) // 3])
    unseen = [each for each in preferences if each.conversation_id in held]
    pool = [replace(each, stratum="training") for each in preferences if each.conversation_id not in held]
    difference = np.stack([_difference(each) for each in pool])
    chosen_minus_rejected = np.stack([_difference(each) * (1 if each.choice == "A" else -1) for each in unseen])
    curves = []
    for informative in (False, True):
        order, asked, curve, head = rng.permutation(len(pool)).tolist(), list[int](), dict[int, float](), _new(preferences)
        while len(asked) < AT[-1]:
            batch = _informative(head, difference, order, rng) if informative and asked else order[:BATCH]
            order = [k for k in order if k not in set(batch)]
            asked += batch
            head = reconcile(learn_all(_new(preferences), [Entry(n, pool[k]) for n, k in enumerate(asked, start=1)]))
            curve[len(asked)] = float((chosen_minus_rejected @ head.weights > 0).mean())
        curves.append([curve[n] for n in AT])
    return np.array(curves)


def _informative(head: Head, difference: np.ndarray, order: Sequence[int], rng: np.random.Generator) -> list[int]:
    uniform = int(rng.binomial(BATCH, UNIFORM))
    asked = [order[k] for k in most_informative(head, difference[list(order)], BATCH - uniform)]
    rest = [k for k in order if k not in set(asked)]
    return [*asked, *(rest[k] for k in rng.choice(len(rest), size=min(uniform, len(rest)), replace=False))]


def _difference(preference: Preference) -> np.ndarray:
    assert preference.features is not None
    _, a, b = preference.features
    return np.asarray(a - b, float)


def _new(preferences: Sequence[Preference]) -> Head:
    features = preferences[0].features
    assert features is not None
    settings = SETTINGS.section("learning", HeadSettings).model_copy(update={"objectives": ()})
    return new_head(settings, features.embedding_hash, len(features.a), (preferences[0].source,))
