"""How many judgments does asking for informative pairs save? Simulated panels, pairs asked in batches of ten.

``labels_ratio`` is the number of judgments with which the head reaches the accuracy that it has after 400 about random pairs, over 400;
one pair in ten is drawn uniformly. Accuracy is that of the sign on 4,000 fresh pairs against the panel's mean taste, averaged over panels
before the two curves are compared; the interval is a bootstrap over panels.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.figures import Figure
from benchmarks.reward.noise import entries_of
from streams.asking import AskingSettings
from trainers.audits.simulation.panels import DIMENSIONS, Panel, replies
from trainers.data.preference import Entry
from trainers.reward.asking import most_informative
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings

FIRST_SEED, PANELS, ASKED, BATCH, POOL, UNSEEN = 10_000, 20, 400, 10, 3_000, 4_000
UNIFORM = 0.1


def figures(quick: bool) -> Sequence[Figure]:
    """The ratio with its interval and both accuracies at 400, and the same for the accuracy that random asking has at 100."""
    panels = 3 if quick else PANELS
    curves = np.array([panel_curves(FIRST_SEED + n) for n in range(panels)])
    rng = np.random.default_rng(0)
    drawn = [curves[rng.integers(panels, size=panels)].mean(axis=0) for _ in range(2_000)]
    found = []
    for name, asked, reach in (("labels_ratio_high", ASKED, "<=0.75"), ("labels_ratio_high_at_100", 100, "")):
        low, high = np.quantile([_ratio(each, asked) for each in drawn], (0.025, 0.975), method="higher")  # some may be infinite
        random, informative = curves.mean(axis=0)[:, asked // BATCH - 1]
        unit = f"1; {_ratio(curves.mean(axis=0), asked):.3f}, accuracy at {asked}: random {random:.3f}, informative {informative:.3f}"
        found.append(Figure(name, float(high), float(low), float(high), unit, reach))
    return found


def panel_curves(seed: int) -> np.ndarray:
    """Accuracy after 10, 20, … judgments, for random pairs and for informative ones, ``(2, ASKED / BATCH)``."""
    rng = np.random.default_rng(seed)
    panel = Panel.draw(rng, shared=1.0, own=0.3)
    pool = entries_of(panel.judge(rng, POOL))
    pairs = replies(rng, UNSEEN) - replies(rng, UNSEEN)
    truth = pairs @ panel.tastes.mean(axis=0)
    found = []
    for informative in (False, True):
        order, head, curve = list(rng.permutation(len(pool))), _new(), []
        chosen: list[Entry] = []
        while len(chosen) < ASKED:
            asked = _informative(head, pool, order, rng) if informative and chosen else order[:BATCH]
            order = [k for k in order if k not in set(asked)]
            chosen += [Entry(len(chosen) + n, pool[k].preference) for n, k in enumerate(asked, start=1)]
            head = reconcile(learn_all(_new(), chosen))
            curve.append(float((np.sign(pairs @ head.weights) == np.sign(truth)).mean()))
        found.append(curve)
    return np.array(found)


def _informative(head: Head, pool: Sequence[Entry], order: Sequence[int], rng: np.random.Generator) -> list[int]:
    """A batch of which one pair in ten is drawn uniformly."""
    some = order[: AskingSettings().ranked]
    differences = np.stack([_difference(pool[k]) for k in some])
    uniform = int(rng.binomial(BATCH, UNIFORM))
    asked = [some[k] for k in most_informative(head, differences, BATCH - uniform)]
    rest = [k for k in some if k not in set(asked)]
    return [*asked, *(rest[k] for k in rng.choice(len(rest), size=uniform, replace=False))]


def _difference(entry: Entry) -> np.ndarray:
    assert entry.preference is not None
    assert entry.preference.features is not None
    _, a, b = entry.preference.features
    return np.asarray(a - b)


def _new() -> Head:
    return new_head(HeadSettings(objectives=()), "simulated", DIMENSIONS, ("product",))


def _ratio(curves: np.ndarray, asked: int) -> float:
    """The first number of judgments at which the second curve reaches the first one's value at ``asked``, interpolated, over ``asked``."""
    random, informative = curves
    wanted = random[asked // BATCH - 1]
    reached = np.flatnonzero(informative >= wanted)
    if not len(reached):
        return float("inf")
    k = int(reached[0])
    if k == 0:
        return BATCH / asked
    part = (wanted - informative[k - 1]) / (informative[k] - informative[k - 1])
    return float(BATCH * (k + part) / asked)
