"""Does the true taste fall when a reply is chosen from more and more? Best-of-n up to 256 on simulated panels, with and without flips.

The truth is the panel's mean taste less a penalty on the tail of the features, for which nobody has a taste: a proxy that goes far from the
judged replies loses. The replies to choose from go ``STRETCH`` times as far in that tail as the judged ones, as an optimised policy's do.
Among replies like the judged ones nothing is over-optimised, and what an ensemble costs there is ``ensemble_share_where_judged``.
``ensemble_at_256`` is the true taste of the chosen reply at n = 256 over its greatest mean at any n, for the shipped combination.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.figures import Figure
from benchmarks.reward.noise import entries_of
from trainers.audits.simulation.panels import DIMENSIONS, TASTED, Panel, replies
from trainers.data.preference import Entry, Preference
from trainers.reward.ensemble import Combination, EnsembleSettings, combined, resampled
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings

FIRST_SEED, PANELS, JUDGMENTS, MEMBERS, PROMPTS = 10_000, 20, 480, 5, 400
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
FLIPS = (0.0, 0.25)
TAIL_PENALTY = 0.5  # of the truth, for each unit of the tail's squared length
STRETCH = 8.0
PENALTY = EnsembleSettings().penalty
SINGLE = "single"
WAYS: tuple[Combination, ...] = ("mean", "min", "mean_minus_variance")


def figures(quick: bool) -> Sequence[Figure]:
    """At n = 256, for each share of flipped answers: the truth over its peak and above a single head's; and its cost without need."""
    panels = range(FIRST_SEED, FIRST_SEED + (2 if quick else PANELS))
    found = []
    for flips in FLIPS:
        mean = _mean([panel_curves(seed, flips, STRETCH) for seed in panels])
        share = {way: float(curve[-1] / curve.max()) for way, curve in mean.items()}
        said = "; ".join(f"{way} {share[way]:.3f}" for way in share)
        name = f"ensemble_at_256_flips_{round(100 * flips):02d}"
        gain = mean["mean_minus_variance"][-1] - mean[SINGLE][-1]
        found += [
            Figure(name, share["mean_minus_variance"], None, None, f"of its peak; {said}", ">=0.95"),
            Figure(f"{name}_above_single", float(gain), None, None, f"log-odds; single {mean[SINGLE][-1]:.3f}", ">=0"),
        ]
    judged = _mean([panel_curves(seed, 0.0, 1.0) for seed in panels])
    kept = float(judged["mean_minus_variance"][-1] / judged[SINGLE][-1])
    return [*found, Figure("ensemble_share_where_judged", kept, None, None, f"of a single head's {judged[SINGLE][-1]:.3f} log-odds")]


def _mean(curves: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {way: np.mean([each[way] for each in curves], axis=0) for way in (SINGLE, *WAYS)}


def panel_curves(seed: int, flips: float, stretch: float) -> dict[str, np.ndarray]:
    """The mean truth of the chosen replies for each n of ``SIZES``, by way; ``stretch`` multiplies the tail of what is chosen from."""
    rng = np.random.default_rng(seed)
    panel = Panel.draw(rng, shared=1.0, own=0.3)
    entries = [_flipped(each, rng.random() < flips) for each in entries_of(panel.judge(rng, JUDGMENTS))]
    judged = [each.preference for each in entries if each.preference is not None]
    single = _weights(judged)
    members = np.array([_weights(resampled(judged, rng)) for _ in range(MEMBERS)])
    curves = {way: np.zeros(len(SIZES)) for way in (SINGLE, *WAYS)}
    for _ in range(PROMPTS):
        some = replies(rng, SIZES[-1])
        some[:, TASTED:] *= stretch
        truth = some @ panel.tastes.mean(axis=0) - TAIL_PENALTY * (some[:, TASTED:] ** 2).sum(axis=1)
        truth -= truth.mean()
        centred = members @ some.T
        for at, n in enumerate(SIZES):
            each = centred[:, :n] - centred[:, :n].mean(axis=1, keepdims=True)
            curves[SINGLE][at] += truth[np.argmax(some[:n] @ single)] / PROMPTS
            for way in WAYS:
                curves[way][at] += truth[np.argmax(combined(each, way, PENALTY))] / PROMPTS
    return curves


def _weights(judged: Sequence[Preference]) -> np.ndarray:
    head = new_head(HeadSettings(objectives=()), "simulated", DIMENSIONS, ("product",))
    return reconcile(learn_all(head, [Entry(n, each) for n, each in enumerate(judged, start=1)])).weights


def _flipped(entry: Entry, flip: bool) -> Entry:
    assert entry.preference is not None
    return replace(entry, preference=replace(entry.preference, choice=entry.preference.swapped().choice)) if flip else entry
