"""Do the weights keep their scale however recruiters use the four strengths? Simulated recruiters with a known taste.

800 judgments, then a reconciliation. In one world everybody clicks strength 1, in one strength 4, in one half of the answers are ties.
``strength_ratio`` is the length of the fitted weights over that of the true ones, ``tie_ratio`` the predicted ties over the true ones.
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.figures import Figure
from storage.events import derived_id
from trainers.data.preference import DecisiveChoice, Entry, Features, Preference
from trainers.reward.online.head import predict
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings

FIRST_SEED, WORLDS, JUDGMENTS, D = 10_000, 20, 800, 20
KINDS = ("always_1", "always_4", "half_ties")


def figures(quick: bool) -> Sequence[Figure]:
    """The ratios' means over the worlds of each kind; the reach holds for each kind."""
    worlds = 2 if quick else WORLDS
    found = {kind: np.array([world(kind, FIRST_SEED + n) for n in range(worlds)]) for kind in KINDS}
    means = {kind: each.mean(axis=0) for kind, each in found.items()}
    said = "; ".join(f"{kind} {each[0]:.3f}" for kind, each in means.items())
    ties = "; ".join(f"{kind} {each[1]:.3f}" for kind, each in means.items())
    return [
        Figure("strength_ratio_low", min(each[0] for each in means.values()), None, None, said, ">=0.8"),
        Figure("strength_ratio_high", max(each[0] for each in means.values()), None, None, "1", "<=1.25"),
        Figure("tie_ratio_low", min(each[1] for each in means.values()), None, None, ties, ">=0.8"),
        Figure("tie_ratio_high", max(each[1] for each in means.values()), None, None, "1", "<=1.25"),
    ]


def world(kind: str, seed: int) -> tuple[float, float]:
    """The ratio of the weights' lengths and of the shares of ties in one world."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=D)
    truth *= 1.2 / np.linalg.norm(truth)  # the standard deviation of the log-odds between two replies
    half = float(np.median(np.abs(rng.normal(size=20_000) * 1.2 + rng.logistic(size=20_000))))
    cut = half if kind == "half_ties" else 0.4
    entries = []
    for n in range(1, JUDGMENTS + 1):
        a, b = rng.normal(size=(2, D)).astype(np.float32) / np.sqrt(2)
        latent = float((a - b) @ truth + rng.logistic())
        choice: DecisiveChoice = "tie" if abs(latent) < cut else "A" if latent > 0 else "B"
        strength = None if choice == "tie" else {"always_1": 1, "always_4": 4}.get(kind, 2)
        entries.append(Entry(n, _preference(n, a, b, choice, strength, f"r-{n % 8}")))
    settings = HeadSettings(objectives=())
    head = reconcile(learn_all(new_head(settings, "simulated", D, ("product",)), entries))
    unseen = rng.normal(size=(4_000, D))
    z = unseen @ truth
    true_ties = 1 / (1 + np.exp(z - cut)) - 1 / (1 + np.exp(z + cut))
    return float(np.linalg.norm(head.weights) / np.linalg.norm(truth)), float(predict(head, unseen).tie.mean() / true_ties.mean())


def _preference(n: int, a: np.ndarray, b: np.ndarray, choice: DecisiveChoice, strength: int | None, recruiter: str) -> Preference:
    return Preference(
        (), "", "", choice, "training", f"c-{n}", strength=strength, recruiter=recruiter, source="product",
        pair_id=derived_id("pair", n), features=Features("simulated", a, b),
    )  # fmt: skip
