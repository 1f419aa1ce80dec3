"""The notebooks run from top to bottom and find what they say."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from tests.profiles import NIGHTLY

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def cells_of(name: str) -> list[dict[str, Any]]:
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells: list[dict[str, Any]] = notebook["cells"]
    return cells


def executed(name: str) -> dict[str, Any]:
    """The names that are defined after all code cells; the last expression of a cell is evaluated, as Jupyter does."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells_of(name):
        if cell["cell_type"] == "code":
            tree = ast.parse("".join(cell["source"]))
            exec(compile(tree, f"{name}: cell {cell['id']}", "exec"), names)
    return names


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_committed_without_outputs_and_each_cell_has_an_id(path: Path) -> None:
    cells = cells_of(path.name)
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.training
@pytest.mark.skipif(not NIGHTLY, reason="two minutes: it runs in make nightly")
def test_the_reward_notebook_runs_and_finds_what_it_says() -> None:
    names = executed("01_reward_model.ipynb")
    assert names["ranked"][0].index == 1
    assert names["curve"][-1][1] >= 0.9
    kinds = {line.name: line.kind for line in names["report"].recruiters}
    assert [kinds[f"recruiter-{n}"] for n in range(2, 8)].count("follows the others") >= 5
    assert not any(kinds[f"recruiter-{n}"] == "follows the others" for n in (0, 1))
    assert names["asked"] > 0.7
    assert [reward for reward, _ in names["best"]] == sorted(reward for reward, _ in names["best"])


@pytest.mark.training
@pytest.mark.skipif(not NIGHTLY, reason="a minute: it runs in make nightly")
def test_the_ppo_notebook_runs_and_finds_what_it_says() -> None:
    names = executed("02_ppo.ipynb")
    assert names["advantages"].flatten().tolist() == pytest.approx([1.64768, 1.094, 1.7])
    assert names["gain"] > 0.2
    assert names["asking"][1] > names["asking"][0]
    assert len(names["curve"]) == 6


@pytest.mark.training
@pytest.mark.skipif(not NIGHTLY, reason="a minute: it runs in make nightly")
def test_the_dpo_notebook_runs_and_finds_what_it_says() -> None:
    names = executed("03_dpo.ipynb")
    assert len(names["judgments"]) > 80
    assert names["win_rate"] - 1.96 * names["spread"] > 0.5
    margins = [each["reward_margin"] for each in names["steps"]]
    assert sum(margins[-10:]) / 10 > 0.2  # a step has eight judgments


@pytest.mark.training
def test_the_evidence_notebook_runs_and_finds_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    names = executed("04_evidence.ipynb")
    assert names["result"].verdict == "passed"
    assert names["stored"].rate.low <= names["truth"] <= names["stored"].rate.high
    assert names["no_better"].count("passed") <= 2  # more has a probability of 1% at 5% each
    assert {biased: verdict.verdict for biased, verdict in names["verdicts"].items()} == {True: "failed", False: "passed"}
    assert "a dated next step" in names["verdicts"][True].words
    assert names["few"].verdict == "insufficient"
    assert names["state"].outcome == "better"
    assert names["wealth"][-1] >= 1 / names["rule"].alpha > max(names["wealth"][:-1])
    assert sum(each.outcome == "better" for each in names["ended"]) <= 10  # of 100, at 5% each: more has a probability of 1%
    assert names["shares"][0.1]["better"] < 0.1 < 0.5 < names["shares"][1.0]["better"]
    assert names["shares"][0.1]["harm"] > names["shares"][1.0]["harm"] + 0.3
    assert "group_share = 0.1" in capsys.readouterr().out
