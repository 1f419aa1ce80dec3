"""Agreement between recruiters, against published figures."""

import numpy as np
import pytest

from trainers.reward.agreement import LEAST_REPEATS, agreement, krippendorff_alpha

# Krippendorff (2011), section E: four observers, twelve units, some values missing; alpha for ordinal data is .815
OBSERVERS = ("123321412...", "1233224125.3", ".3332342251.", "12332441251.")


def published() -> list[list[int]]:
    return [[int(row[i]) for row in OBSERVERS if row[i] != "."] for i in range(12)]


def test_alpha_is_that_of_the_published_example() -> None:
    assert krippendorff_alpha(published()) == pytest.approx(0.815, abs=5e-4)


def test_alpha_is_one_where_all_agree_near_zero_at_random_and_undefined_without_variation() -> None:
    rng = np.random.default_rng(0)
    assert krippendorff_alpha([[k, k] for k in (-2, 0, 3, 3)]) == 1
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha(rng.integers(-4, 5, (4_000, 2)).tolist()) == pytest.approx(0, abs=0.05)
    assert krippendorff_alpha([[k, -k] for k in (-3, -1, 1, 3)]) < 0  # type: ignore[operator]


def test_agreement_is_counted_by_pair_and_by_recruiter() -> None:
    judged = [(1, "ana", 2), (1, "ben", 1), (1, "eva", -1), (2, "ana", 0), (2, "ben", 0), (3, "ana", 4)]
    pair, who, level = zip(*judged, strict=True)
    found = agreement(np.array(pair), who, np.array(level))
    assert (found.pairs, found.judgments, found.repeats) == (2, 5, 3)
    assert found.same_choice == pytest.approx(4 / 8)  # of 6 ordered comparisons in the first pair two agree, of 2 in the second both
    assert found.by_recruiter == {"ana": (2 / 3, 3), "ben": (2 / 3, 3), "eva": (0.0, 2)}
    assert found.alpha is None, f"fewer than {LEAST_REPEATS} repeats"


def test_a_changed_mind_counts_once() -> None:
    found = agreement(np.array([1, 1, 1]), ("ana", "ben", "ana"), np.array([2, -2, -1]))
    assert (found.judgments, found.same_choice) == (2, 1.0)


def test_without_repeats_there_is_nothing_to_say() -> None:
    found = agreement(np.array([1, 2]), ("ana", "ben"), np.array([2, -2]))
    assert (found.pairs, found.same_choice, found.alpha, found.by_recruiter) == (0, None, None, {})
