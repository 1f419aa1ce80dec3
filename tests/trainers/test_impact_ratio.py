"""Impact ratios by Local Law 144, and the four-fifths rule by bounds, against other implementations and published figures."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import chi2_contingency
from scipy.stats.contingency import relative_risk

from benchmarks.gates.outcomes import RATES, agrees_with_fairlearn, callback_counts, callback_file, verdict_rates
from trainers.audits.outcomes.impact_ratio import (
    CONFIDENCE,
    MINIMUM,
    Count,
    RatioTable,
    four_fifths,
    katz_interval,
    ratio_score,
    ratio_table,
)


def table(counts: dict[str, tuple[int, int]], unknown: int = 0) -> RatioTable:
    return ratio_table(("sex",), "selection", {(name,): Count(*count) for name, count in counts.items()}, unknown)


@pytest.mark.parametrize("seed", range(40))
def test_rates_and_ratios_are_those_of_fairlearn(seed: int) -> None:
    assert agrees_with_fairlearn(np.random.default_rng(seed))


def test_the_interval_is_scipys_katz_interval_of_the_relative_risk() -> None:
    for a, n, b, m in ((157, 2435, 235, 2435), (7, 40, 30, 90), (50, 80, 45, 50)):
        expected = relative_risk(a, n, b, m).confidence_interval(0.9)
        assert katz_interval(Count(n, a), Count(m, b), 0.95) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_the_callback_study_has_its_published_ratio() -> None:
    file = callback_file()
    if file is None:
        pytest.skip("the shared data is not here")
    counts = callback_counts(file)
    assert counts == {"white": Count(2435, 235), "black": Count(2435, 157)}  # Bertrand and Mullainathan (2004), table 1
    found = ratio_table(("race",), "selection", {(race,): count for race, count in counts.items()}, 0)
    (black,) = [row for row in found.rows if row.category == ("black",)]
    assert black.ratio == pytest.approx(0.668, abs=5e-4)
    assert katz_interval(counts["black"], counts["white"], 0.975) == pytest.approx((0.550, 0.811), abs=5e-4)
    assert (black.verdict, found.verdict) == ("failed", "failed")


@pytest.mark.parametrize("counts", [(20, 50, 60, 90), (3, 200, 12, 100), (40, 41, 90, 99), (0, 50, 25, 50)])
def test_the_score_statistic_is_that_of_the_likeliest_rates_under_the_hypothesis(counts: tuple[int, int, int, int]) -> None:
    a, n, b, m = counts

    def minus_log_likelihood(q: float) -> float:
        p = 0.8 * q
        return -(a * math.log(p) + (n - a) * math.log1p(-p) + b * math.log(q) + (m - b) * math.log1p(-q))

    q = minimize_scalar(minus_log_likelihood, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-12}).x
    p = 0.8 * q
    variance = (p * (1 - p) / n + 0.64 * q * (1 - q) / m) * (n + m) / (n + m - 1)
    difference, half_a_person_each = a / n - 0.8 * b / m, 0.5 / n + 0.8 * 0.5 / m
    corrected = math.copysign(max(abs(difference) - half_a_person_each, 0), difference)
    assert ratio_score(Count(n, a), Count(m, b), 0.8) == pytest.approx(corrected / math.sqrt(variance), rel=1e-4)


@pytest.mark.parametrize("counts", [(12, 40, 30, 60), (300, 1000, 45, 90)])
def test_at_a_ratio_of_one_the_corrected_score_is_scipys_chi_squared_test_of_yates(counts: tuple[int, int, int, int]) -> None:
    a, n, b, m = counts
    expected = chi2_contingency([[a, n - a], [b, m - b]], correction=True).statistic * (n + m - 1) / (n + m)  # the variance has n - 1
    assert ratio_score(Count(n, a), Count(m, b), 1.0) ** 2 == pytest.approx(expected, rel=1e-9)


def test_a_pass_needs_the_lower_bound_above_four_fifths_and_a_failure_the_upper_below() -> None:
    assert four_fifths(Count(1000, 500), Count(1000, 500), 0.05) == "passed"
    assert four_fifths(Count(1000, 300), Count(1000, 500), 0.05) == "failed"
    assert four_fifths(Count(1000, 400), Count(1000, 500), 0.05) == "insufficient"  # exactly four fifths


def test_a_reference_with_few_selected_is_insufficient() -> None:
    assert four_fifths(Count(2000, 40), Count(30, 9), 0.05) == "insufficient"
    assert four_fifths(Count(2000, 40), Count(30, 10), 0.05) == "failed"


def test_a_small_category_at_a_high_rate_does_not_pass_by_the_katz_bound_alone() -> None:
    small, large = Count(30, 25), Count(2000, 1800)  # the bound alone passes a true ratio of .8 in 11% of such samples
    assert katz_interval(small, large, CONFIDENCE)[0] > 0.8
    assert four_fifths(small, large, 0.05) == "insufficient"


def test_categories_under_two_percent_are_named_without_a_ratio_and_set_no_reference() -> None:
    found = table({"female": (500, 200), "male": (490, 245), "x": (10, 10)}, unknown=7)
    (x,) = [row for row in found.rows if row.category == ("x",)]
    assert (x.n, x.rate, x.excluded, x.ratio, x.verdict) == (10, 1.0, True, None, None)
    assert (found.reference, found.unknown, found.n) == (("male",), 7, 1000)
    at_the_limit = table({"female": (490, 200), "male": (490, 245), "x": (20, 20)})
    assert at_the_limit.reference == ("x",)  # two percent are not less than two percent


def test_a_group_of_three_people_is_insufficient_and_hides_no_failure_of_a_large_group() -> None:
    fair = table({"female": (60, 30), "male": (60, 30), "x": (3, 3)})
    assert {row.category[0]: row.verdict for row in fair.rows} == {"female": None, "male": "insufficient", "x": "insufficient"}
    assert (fair.reference, fair.compared_with, fair.verdict) == (("x",), ("female",), "insufficient")
    unfair = table({"female": (60, 10), "male": (60, 40), "x": (3, 3)})
    assert (unfair.compared_with, unfair.verdict) == (("male",), "failed")
    assert "female" in unfair.words


def test_no_people_one_category_and_nobody_selected_are_insufficient_and_say_why() -> None:
    assert (table({}, unknown=40).verdict, table({}, unknown=40).words) == ("insufficient", "Nobody's group is recorded.")
    assert "Only one category" in table({"female": (100, 50)}).words
    nobody = table({"female": (100, 0), "male": (100, 0)})
    assert {row.ratio for row in nobody.rows} == {None}
    assert {row.verdict for row in nobody.rows} == {nobody.verdict} == {"insufficient"}
    tiny = table({"female": (MINIMUM - 1, 5), "male": (MINIMUM - 1, 20)})
    assert (tiny.verdict, tiny.compared_with) == ("insufficient", None)


def test_a_category_of_whom_nobody_was_selected_fails_with_half_a_person_in_each_cell() -> None:
    found = table({"female": (100, 0), "male": (100, 50)})
    female = found.rows[0]
    center, spread = math.log((0.5 / 101) / (50.5 / 101)), math.sqrt(1 / 0.5 - 1 / 101 + 1 / 50.5 - 1 / 101)
    assert female.high == pytest.approx(math.exp(center + 1.6448536269514722 * spread), rel=1e-12)
    assert (female.ratio, female.verdict, found.verdict) == (0.0, "failed", "failed")


def test_where_everybody_is_selected_the_rule_passes() -> None:
    assert table({"female": (100, 100), "male": (100, 100)}).verdict == "passed"


def test_a_table_of_several_categories_fails_only_after_bonferronis_correction() -> None:
    counts = {"female": (300, 98), "male": (300, 150)}
    assert table(counts).verdict == "failed"
    several = table(counts | {f"other-{number}": (300, 150) for number in range(5)})
    assert {row.category[0]: row.verdict for row in several.rows}["female"] == "failed"  # on its own
    assert several.verdict == "insufficient"  # one of 21 pairs


@pytest.mark.parametrize("size", [(30, 30), (30, 60), (60, 30), (30, 300)])
def test_a_true_ratio_of_four_fifths_is_called_either_way_in_at_most_one_of_twenty(size: tuple[int, int]) -> None:
    assert max(max(rates) for rates in verdict_rates(size, 0.8, RATES)) <= 0.05


def test_the_exact_rates_of_verdicts_are_those_of_a_simulation() -> None:
    size, rate, runs = (200, 200), 0.5, 2_000
    rng, verdicts = np.random.default_rng(7), []
    for a, b in zip(rng.binomial(size[0], 0.6 * rate, runs), rng.binomial(size[1], rate, runs), strict=True):
        low, high = sorted((Count(size[0], int(a)), Count(size[1], int(b))), key=lambda count: count.selected / count.n)
        verdicts.append(four_fifths(low, high, 0.05))
    ((_, failed),) = verdict_rates(size, 0.6, (rate,))
    assert 0.3 < failed < 0.9
    assert abs(verdicts.count("failed") / runs - failed) < 4 * math.sqrt(failed * (1 - failed) / runs)
