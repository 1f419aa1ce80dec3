"""``feedbackloop audit ll144``: the page and the CSV files, and the command on a home without a hub."""

import csv
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deploy.audit_pack.ll144 import write
from storage.errors import ConfigurationError
from storage.events import Event
from streams.bus.open import open_bus
from streams.intake import Intake
from tests.deploy.test_cli import feedbackloop
from trainers.audits.outcomes.tables import Decision, OutcomesTable, stage_tables

DAY = datetime(2026, 1, 5, tzinfo=UTC)
HOSTILE = '=HYPERLINK("https://example.org")<script>alert(1)</script>'


def tables(extra: str = "x") -> OutcomesTable:
    """Sixty women, sixty men and one person of another group, at one stage, a tenth without groups."""
    decisions = [
        Decision(
            f"c-{n}", "nurse", "screening", n % 4 < 2 + n % 2, float(n % 10), DAY, {} if n % 10 == 0 else {"sex": ("female", "male")[n % 2]}
        )
        for n in range(120)
    ]
    decisions.append(Decision("c-x", "nurse", "screening", True, None, DAY, {"sex": extra}))
    return OutcomesTable(
        since=date(2026, 1, 1), until=date(2026, 1, 31), sources=("product",), applications=121, candidates=121, without_groups=12,
        first_reply=None, stages=stage_tables(decisions),
    )  # fmt: skip


class Tags(HTMLParser):
    """Collects tags, attributes and text; every opened tag must be closed in order."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_the_page_holds_what_the_rule_asks_for(tmp_path: Path) -> None:
    write(tables(), tmp_path, date(2025, 11, 3))
    parsed = Tags()
    parsed.feed((tmp_path / "impact_ratios.html").read_text(encoding="utf-8"))
    assert parsed.open == []
    text = " ".join(parsed.text.split())
    for words in (
        "Distribution date 2025-11-03",
        "Source of the data",
        "121 about 121 candidates",
        "Unknown: 12.",
        "Left out of the ratios (below 2%): x.",
        "median of the full sample is 4.5",
        "Intersectional categories: Sex and Race/ethnicity",
        "Nobody's group is recorded.",
    ):
        assert words in text, words
    assert parsed.seen.count("table") == 6  # sex, race/ethnicity and both, by selection and by scoring


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    paths = [write(tables(), tmp_path / name) for name in ("one", "two")]
    assert [path.read_bytes() for path in paths[0]] == [path.read_bytes() for path in paths[1]]


def test_hostile_names_neither_run_in_a_browser_nor_in_a_spreadsheet(tmp_path: Path) -> None:
    write(tables(HOSTILE), tmp_path)
    parsed = Tags()
    parsed.feed((tmp_path / "impact_ratios.html").read_text(encoding="utf-8"))
    assert not {"script", "img", "link", "iframe", "a"} & set(parsed.seen)
    assert not [name for name in parsed.attributes if name.startswith("on") or name in ("src", "href")]
    assert HOSTILE in parsed.text  # as text
    with (tmp_path / "impact_ratios.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"'{HOSTILE}" in {row["category"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell.startswith("=")]


def test_the_csv_has_the_figures_of_the_tables(tmp_path: Path) -> None:
    found = tables()
    write(found, tmp_path)
    with (tmp_path / "impact_ratios.csv").open(encoding="utf-8", newline="") as file:
        rows = {(row["basis"], row["category"]): row for row in csv.DictReader(file)}
    expected = {row.category[0]: row for row in found.stages[0].selection[0].rows}
    for name, row in expected.items():
        got = rows["selection", name]
        assert (int(got["n"]), int(got["selected"]), float(got["rate"])) == (row.n, row.selected, row.rate)
        assert got["impact_ratio"] == ("" if row.ratio is None else repr(row.ratio))
        assert got["four_fifths"] == (row.verdict or "")


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file: cannot be written"):
        write(tables(), tmp_path / "file")


@pytest.mark.processes
def test_the_command_reads_a_home_without_a_hub_and_says_where_nothing_is_recorded(tmp_path: Path) -> None:
    with closing(open_bus(f"sqlite:///{tmp_path}/home/log.sqlite")) as bus:
        intake = Intake(bus, b"key of the test, long enough to be one")
        events: list[Event] = []
        for n in range(80):
            outcome = {"position": "nurse", "stage": "screening", "selected": n % 2 == 0, "decided_at": DAY + timedelta(minutes=n)}
            events += [event for event in intake.outcome(candidate=f"p{n}", groups={"sex": "fm"[n % 2]}, outcome=outcome) if event]
    assert len(events) == 160
    settings = {
        "FEEDBACKLOOP_HUB__PORT": "1",
        "FEEDBACKLOOP_HOME": str(tmp_path / "home"),
        "FEEDBACKLOOP_BUS": f"sqlite:///{tmp_path}/home/log.sqlite",
    }
    done = feedbackloop(tmp_path, "audit", "ll144", "--from", "2026-01-01", "--to", "2026-01-31", "--out", "pack", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["pack/impact_ratios.html", "pack/impact_ratios.csv", "pack/tables.csv"]
    with (tmp_path / "pack" / "tables.csv").open(encoding="utf-8", newline="") as file:
        (sex, *_) = csv.DictReader(file)
    assert (sex["n"], sex["unknown"], sex["verdict"]) == ("80", "0", "failed")  # all women selected, no man

    empty = feedbackloop(tmp_path, "audit", "ll144", "--from", "2025-01-01", "--to", "2025-01-31", "--out", "none", **settings)
    assert empty.returncode == 0
    assert "no decisions of product are recorded from 2025-01-01 to 2025-01-31" in empty.stdout
    assert "No decisions are recorded in this time." in (tmp_path / "none" / "impact_ratios.html").read_text(encoding="utf-8")
    wrong = feedbackloop(tmp_path, "audit", "ll144", "--from", "2026-02-01", "--to", "2026-01-01", "--out", "none", **settings)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "exchange the two dates" in wrong.stderr
