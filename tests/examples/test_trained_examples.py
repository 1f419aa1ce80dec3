"""The examples that train: what each is rewarded for rises, on fresh samples and by more than chance gives."""

from pathlib import Path

import pytest

from examples import code_generation, recruiting_chatbot, summarisation
from tests.profiles import NIGHTLY

pytestmark = pytest.mark.training


def test_functions_pass_more_of_their_unit_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = code_generation.train(tmp_path, steps=8)
    assert after > before + 0.15
    assert "step  8 of 8" in capsys.readouterr().out


@pytest.mark.skipif(not NIGHTLY, reason="the same training as that on unit tests, with another reward: it runs in make nightly")
def test_summaries_keep_more_facts_in_fewer_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = summarisation.train(tmp_path, steps=8)
    assert after > before + 0.1
    assert "reward on fresh adverts" in capsys.readouterr().out


def test_simulated_recruiters_prefer_the_trained_chatbot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recruiting_chatbot.train(tmp_path, count=160, epochs=5) > 0.53  # .54 to .61 over three seeds
    assert "simulated judgments" in capsys.readouterr().out


def test_a_summary_is_worth_its_facts_less_its_words_and_wrong_facts() -> None:
    facts = ["florist", "Leeds", "full time", "12 pounds an hour"]
    every = [*facts, "Derby"]
    assert summarisation.score("florist; Leeds", facts, every) == pytest.approx(0.5 - 2 / 50)
    assert summarisation.score("florist; Derby", facts, every) == pytest.approx(0.25 - 2 / 50 - 1)


def test_code_is_taken_out_of_its_fence() -> None:
    assert code_generation.code_of("Sure:\n```python\ndef f(a):\n    return a\n```\nBye.") == "def f(a):\n    return a\n"
    assert code_generation.code_of("def f(a): return a") == "def f(a): return a"
