"""How much do recruiters cost who answer at random, and are they found? Simulated panels with known tastes.

Twelve recruiters give 1,200 judgments: three click at random, one has the opposite of the panel's taste, one a taste of his own, and seven
are attentive. Accuracy is that of the head's sign on 6,000 fresh pairs against the mean taste of the attentive. ``noise_regained`` is
(model - naive) / (oracle - naive): naive weighs all judgments alike, the oracle sees those of the attentive only.

``kinds_found`` is the share of the three and the opposite one of whom the report says "looks random", "opposite" or "own taste";
``kinds_accused`` the share of the other eight of whom it says "looks random".
"""

from collections.abc import Sequence

import numpy as np

from benchmarks.figures import Figure
from benchmarks.gates.intervals import share_of
from storage.events import derived_id
from trainers.audits.simulation.panels import DIMENSIONS, Panel, replies
from trainers.data.preference import Entry, Features, Preference
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head, reconcile
from trainers.reward.online.settings import HeadSettings
from trainers.reward.panel import Judged
from trainers.reward.recruiter_kinds import Kind, recruiter_reports

FIRST_SEED, PANELS, JUDGMENTS, UNSEEN = 10_000, 20, 1_200, 6_000  # seeds below 1,000 are for development
RECRUITERS, RANDOM, OPPOSITE, MINORITY = 12, (0, 1, 2), 3, 4
FOUND = (Kind.RANDOM, Kind.OPPOSITE, Kind.OWN_TASTE)


def figures(quick: bool) -> Sequence[Figure]:
    """What the model regains, and who is found."""
    panels = 2 if quick else PANELS
    measured = [panel_figures(FIRST_SEED + n) for n in range(panels)]
    accuracy = np.array([each[0] for each in measured])
    kinds = [each[1] for each in measured]
    rng = np.random.default_rng(0)
    draws = [_regained(accuracy[rng.integers(panels, size=panels)]) for _ in range(2_000)]
    low, high = np.quantile(draws, (0.025, 0.975))
    naive, oracle, model = accuracy.mean(axis=0)
    unit = f"1; {_regained(accuracy):.3f} with accuracies naive {naive:.3f}, oracle {oracle:.3f}, model {model:.3f}"
    careless = [kind for each in kinds for k, kind in each.items() if k in (*RANDOM, OPPOSITE)]
    others = [kind for each in kinds for k, kind in each.items() if k not in (*RANDOM, OPPOSITE)]
    found, accused = sum(kind in FOUND for kind in careless), sum(kind is Kind.RANDOM for kind in others)
    return [
        Figure("noise_regained_low", float(low), float(low), float(high), unit, ">=0.5"),
        share_of("kinds_found", found, len(careless), f">={0.95 * len(careless):g}"),
        share_of("kinds_accused", accused, len(others), f"<={0.05 * len(others):g}"),
        share_of("minorities_named", sum(each[MINORITY] in (Kind.OWN_TASTE, Kind.OPPOSITE) for each in kinds), len(kinds)),
    ]


def panel_figures(seed: int) -> tuple[tuple[float, float, float], dict[int, Kind]]:
    """The accuracies naive, oracle and model of one panel, and each recruiter's kind."""
    rng = np.random.default_rng(seed)
    panel = _panel(rng)
    entries = entries_of(panel.judge(rng, JUDGMENTS))
    pairs = replies(rng, UNSEEN) - replies(rng, UNSEEN)
    truth = pairs @ panel.tastes[MINORITY + 1 :].mean(axis=0)

    def accuracy(head: Head) -> float:
        return float((np.sign(pairs @ head.weights) == np.sign(truth)).mean())

    good = [each.preference for each in entries if each.preference and _place(each.preference.recruiter or "") > MINORITY]
    model = _head(entries, HeadSettings(objectives=()))
    naive = accuracy(_head(entries, HeadSettings(objectives=(), rounds=0)))
    oracle = accuracy(_head([Entry(n, each) for n, each in enumerate(good, start=1)], HeadSettings(objectives=())))
    return (naive, oracle, accuracy(model)), {_place(each.name): each.kind for each in recruiter_reports(model)}


def entries_of(judged: Judged) -> list[Entry]:
    """The judgments as the learner takes them."""
    entries = []
    for n in range(len(judged)):
        level, a = int(judged.lower[n]), judged.differences[n].astype(np.float32)
        entries.append(Entry(n + 1, Preference(
            (), "", "", "tie" if level == 0 else "A" if level > 0 else "B", "training", f"c-{n}", strength=abs(level) or None,
            recruiter=str(judged.recruiter[n]), shown_first="A" if judged.position[n] > 0 else "B", source="product",
            pair_id=derived_id("pair", n), features=Features("simulated", a, np.zeros_like(a)),
        )))  # fmt: skip
    return entries


def _panel(rng: np.random.Generator) -> Panel:
    drawn = Panel.draw(rng, shared=1.0, own=0.3, least=RECRUITERS)
    tastes, lapse = drawn.tastes[:RECRUITERS].copy(), np.minimum(rng.beta(1, 9, RECRUITERS), 0.4)
    lapse[list(RANDOM)] = 1
    tastes[OPPOSITE] *= -1
    tastes[MINORITY] = Panel.draw(rng, shared=1.0, own=0.3).tastes[0]
    return Panel(tastes, drawn.cuts[:RECRUITERS], drawn.pull[:RECRUITERS], lapse)


def _place(name: str) -> int:
    return int(name.removeprefix("r-"))


def _head(entries: Sequence[Entry], settings: HeadSettings) -> Head:
    return reconcile(learn_all(new_head(settings, "simulated", DIMENSIONS, ("product",)), entries))


def _regained(accuracy: np.ndarray) -> float:
    naive, oracle, model = accuracy.mean(axis=0)
    return float((model - naive) / (oracle - naive))
