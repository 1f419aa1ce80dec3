"""The example of a reward model, step by step, with a labeller who prefers replies that name a day."""

import json
from pathlib import Path

import pytest

from examples.reward_model import DAYS, generate, label, rerank, train
from tests.profiles import NIGHTLY

pytestmark = [pytest.mark.training, pytest.mark.skipif(not NIGHTLY, reason="a minute: it runs in make nightly")]


def test_the_four_steps_lead_to_a_ranking(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pairs, labelled = tmp_path / "pairs.jsonl", tmp_path / "labelled.jsonl"
    generate(pairs, 96)
    drawn = [json.loads(line) for line in pairs.read_text().splitlines()]
    assert len(drawn) > 80

    asked = iter(drawn)

    def answer(_question: str) -> str:
        pair = next(asked)
        named = [any(day in pair[side] for day in (*DAYS, "Friday")) for side in "ab"]
        return "t" if named[0] == named[1] and pair["a"][:1] == pair["b"][:1] else "1" if named[0] else "2"

    stopped = iter(["1", "q"])
    label(pairs, labelled, lambda _question: next(stopped))
    assert len(labelled.read_text().splitlines()) == 1
    next(asked)
    label(pairs, labelled, answer)  # goes on with the second pair
    assert len(labelled.read_text().splitlines()) > 40

    train(labelled, tmp_path / "out")
    assert "train a head" in capsys.readouterr().out
    rerank(tmp_path / "out" / "reward", "When is my interview?", ["Soon.", "On Monday at ten."])
    lines = capsys.readouterr().out.splitlines()
    assert {line[6:] for line in lines} == {"Soon.", "On Monday at ten."}
    assert float(lines[0][:4]) >= float(lines[1][:4])
