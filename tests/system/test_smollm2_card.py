"""SmolLM2's figures: the ratio and its interval, and the model card, which the benchmark writes from the figures beside it."""

import json
from pathlib import Path

import numpy as np

from benchmarks.policy.smollm2.card import card
from benchmarks.policy.smollm2.measure import ratio

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "benchmarks" / "policy" / "smollm2" / "figures.json"


def test_the_card_is_written_from_the_measured_figures() -> None:
    found = json.loads(FIGURES.read_bytes())
    assert (ROOT / "docs" / "smollm2.md").read_text("utf-8") == card(found)


def test_the_examples_cannot_break_the_table() -> None:
    found = json.loads(FIGURES.read_bytes())
    found["examples"][0]["replies"]["base"] = {"text": "a | b\n<script>*x*</script>\n\n# title", "wrong": ["c|d"]}
    line = next(line for line in card(found).splitlines() if "script" in line)
    assert line == r"| as it comes | a \| b &lt;script>\*x\*&lt;/script> # title | c\|d |"


def test_the_ratio_is_of_shares_on_the_same_prompts_and_its_interval_resamples_them_together() -> None:
    before = np.array([True] * 80 + [False] * 20)
    found = ratio("ratio", before & (np.arange(100) % 4 == 0), before, np.random.default_rng(0))
    assert found.value == 0.25
    assert found.low is not None
    assert found.high is not None
    expected = 0.25 + 1.96 * np.array([-1, 1]) * np.sqrt(0.25 * 0.75 / 80)  # a share of the 80, by the normal approximation
    assert np.allclose([found.low, found.high], expected, atol=0.02)
    assert ratio("equal", before, before, np.random.default_rng(0)).low == 1.0
