"""The page of results: a benchmark's new section takes the place of its old one, and the others stay."""

from benchmarks.figures import Figure, result, with_results


def test_a_new_result_replaces_its_own_section_only() -> None:
    page = "# Results\n\nWritten by a program.\n\n## sink\n\nold sink\n\n## memory\n\nold memory\n"
    found = result("sink", [Figure("ratio_to_raw", 0.51, 0.49, 0.53, "1", ">=0.5")], ["numpy"])
    updated = with_results(page, [found])
    assert updated.startswith("# Results\n\nWritten by a program.\n\n## sink\n\n")
    assert "old sink" not in updated
    assert "| ratio_to_raw | 0.51 | 0.49 – 0.53 | 1 | >=0.5 | reached |" in updated
    assert updated.endswith("\n## memory\n\nold memory\n")
    assert with_results(updated, [found]) == updated


def test_a_benchmark_without_a_section_is_added_at_the_end() -> None:
    updated = with_results("# Results\n\nWritten by a program.\n", [result("sink", [Figure("hits", 1, None, None, "1")], [])])
    assert updated.splitlines()[4] == "## sink"
    assert "| hits | 1 |  | 1 |  |  |" in updated


def test_a_benchmark_that_was_run_in_part_keeps_its_other_rows() -> None:
    both = result("policy", [Figure("first", 1, None, None, "s"), Figure("second", 2, None, None, "s")], (), commit="aaa")
    part = result("policy", [Figure("second", 3, None, None, "s")], (), partial=True, commit="bbb")
    updated = with_results(with_results("# Results\n", [both]), [part])
    assert "commit bbb and aaa;" in updated
    assert "| second | 3 |" in updated
    assert "| first | 1 |" in updated
    assert "| second | 2 |" not in updated
    assert with_results(updated, [part]) == updated
