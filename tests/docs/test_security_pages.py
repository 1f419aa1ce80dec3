"""What the pages about security name is there: tests, files, and every requirement of the standard, once."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("security.md", "asvs.md")
STATES = ("holds", "in part", "not promised", "not applicable")
# Requirements of levels 1 and 2 of ASVS 5.0.0: section, and the last number of each. Those of level 3 come after them in each section.
LAST = {
    "1": (2, 9, 11, 3, 2), "2": (3, 3, 4, 1), "3": (0, 2, 4, 6, 5, 0, 2), "4": (3, 1, 2, 4), "5": (1, 3, 2, 3),
    "6": (3, 12, 4, 4, 5, 3, 0, 4), "7": (3, 4, 2, 5, 2, 2), "8": (2, 3, 1, 1), "9": (3, 4), "10": (2, 2, 4, 11, 5, 2, 3),
    "11": (2, 3, 3, 4, 1, 1), "12": (3, 2, 4), "13": (1, 5, 2, 5), "14": (2, 4, 3), "15": (3, 3, 7), "16": (1, 5, 4, 3, 3), "17": (1, 4, 2),
}  # fmt: skip


def text_of(page: str) -> str:
    return (ROOT / "docs" / page).read_text("utf-8")


def requirements() -> list[tuple[list[str], str, str]]:
    """Numbers, state and evidence of each row."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text_of("asvs.md").splitlines() if re.match(r"\| \d", line)]
    return [(numbers.split(", "), state, evidence) for numbers, _, state, evidence in rows]


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text_of(page))
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or not re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    ]
    assert len(named) > 50
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = [path for path in re.findall(r"`(\w+/[\w./-]+)(?:::\w+)?`", text_of(page)) if (ROOT / path.split("/")[0]).is_dir()]
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_requirement_of_levels_1_and_2_has_one_row() -> None:
    expected = {
        f"{chapter}.{section}.{number}"
        for chapter, sections in LAST.items()
        for section, last in enumerate(sections, 1)
        for number in range(1, last + 1)
    }
    found = Counter(number for numbers, _, _ in requirements() for number in numbers)
    assert found.keys() == expected
    assert [number for number, times in found.items() if times > 1] == []


def test_every_row_has_a_state_and_says_where_it_holds_or_why_it_does_not() -> None:
    for numbers, state, evidence in requirements():
        assert state in STATES, numbers
        assert evidence, numbers


def test_the_page_counts_its_states() -> None:
    counts = Counter(state for numbers, state, _ in requirements() for _ in numbers)
    holds, in_part, missing, other = (counts[state] for state in STATES)
    said = f"Of {counts.total()} requirements {holds} hold, {in_part} hold in part, {missing} are not promised, and {other} do not apply."
    assert said in text_of("asvs.md")
