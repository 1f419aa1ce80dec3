"""What does the online head cost? One judgment with all objectives, a replay of 100,000, memory, and a removal.

Features have the shipped size and a falling spectrum; 20 recruiters answer all questions.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from storage.events import derived_id
from trainers.data.preference import DECISIVE, Entry, Features, Preference
from trainers.reward.online.head import Head
from trainers.reward.online.learn import learn_all, new_head, reconcile, save
from trainers.reward.online.settings import HeadSettings

D = 393
TIMED = 2_000  # single updates on each side
WHOLE = 100_000


def entries(seed: int = 0, first: int = 1) -> Iterator[Entry]:
    """Endless judgments of all questions by recruiters with one taste."""
    rng = np.random.default_rng((seed, first))
    questions = HeadSettings().questions
    taste, spectrum = rng.normal(size=(len(questions), D)), 1 / np.sqrt(1 + np.arange(D) / 20)
    for n in range(first, 10**9):
        a, b = (rng.normal(size=(2, D)) * spectrum / np.sqrt(2 * (spectrum**2).sum())).astype(np.float32)
        latent = 2 * (taste @ (a - b)) + rng.logistic(size=len(questions))
        given = {name: DECISIVE[2 if abs(z) < 0.4 else 0 if z > 0 else 1] for name, z in zip(questions, latent, strict=True)}
        overall = given.pop("overall")
        strength = None if overall == "tie" else 1 + int(rng.integers(4))
        features = Features("simulated", a, b)
        yield Entry(n, Preference(
            (), "", "", overall, "training", f"c-{n}", strength=strength, recruiter=f"r-{n % 20}", shown_first="AB"[n % 2],  # type: ignore[arg-type]
            source="product", pair_id=derived_id("pair", n), counts=True, features=features, objectives=given,
        ))  # fmt: skip


def figures(quick: bool) -> Sequence[Figure]:
    """Time of single updates, of the whole replay, and bytes on disk."""
    whole = 4_000 if quick else WHOLE
    settings = HeadSettings()
    source = entries()
    head = learn_all(_new(settings), islice(source, 1_000), in_place=True)
    head, early = _timed(head, list(islice(source, TIMED // 2 if quick else TIMED)))
    rest = whole - head.sequence
    started, spent = time.perf_counter(), 0.0
    while rest > 0:
        batch = list(islice(source, min(rest, 500)))
        begun = time.perf_counter()
        head = learn_all(head, batch, in_place=True)
        spent += time.perf_counter() - begun
        rest -= len(batch)
    made = time.perf_counter() - started - spent
    head, late = _timed(head, list(islice(source, TIMED // 2 if quick else TIMED)))
    replay = spent + float(early.sum() + late.sum())
    (early50, early99), (late50, late99) = (np.quantile(each, (0.5, 0.99)) * 1e3 for each in (early, late))
    return [
        Figure("update_p99_ms_at_1000", float(early99), None, None, f"ms; median {early50:.2f}", "<=1.0"),
        Figure("update_p99_ms_at_100000", float(late99), None, None, f"ms; median {late50:.2f}", "<=1.0"),
        Figure("replay_seconds", replay, None, None, f"s for {head.sequence}; {made:.0f} s to draw them are not in it", "<=60"),
        Figure("bytes_a_judgment", _bytes(head) / head.sequence, None, None, "bytes of checkpoint and history", "<=1000"),
        Figure("removal_difference", removal_difference(200 if quick else 1_500), None, None, "largest of the weights", "<=1e-8"),
    ]


def removal_difference(judgments: int) -> float:
    """The largest difference of a weight between a learner that forgot every tenth judgment and one that never saw them."""
    some = list(islice(entries(seed=1), judgments))
    forgotten = [each.sequence for each in some[::10]]
    removals = [Entry(judgments + 1 + k, removes=sequence) for k, sequence in enumerate(forgotten)]
    one = reconcile(learn_all(_new(HeadSettings()), [*some, *removals]))
    never = [Entry(each.sequence) if each.sequence in set(forgotten) else each for each in some]
    other = reconcile(learn_all(_new(HeadSettings()), never))
    return max(float(np.abs(taste.mean - other.tastes[name].mean).max()) for name, taste in one.tastes.items())


def _new(settings: HeadSettings) -> Head:
    return new_head(settings, "simulated", D, ("product",))


def _timed(head: Head, some: Sequence[Entry]) -> tuple[Head, np.ndarray]:
    """Single updates without the reconciliations that fall between them, which the stream computes in the background."""
    seconds = []
    for entry in some:
        begun = time.perf_counter()
        head = learn_all(head, (entry,), lambda held: held, in_place=True)
        seconds.append(time.perf_counter() - begun)
    return head, np.array(seconds)


def _bytes(head: Head) -> int:
    with tempfile.TemporaryDirectory() as folder:
        save(head, Path(folder) / "head.safetensors")
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
