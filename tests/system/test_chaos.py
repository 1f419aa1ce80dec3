"""The chaos benchmark for a few seconds: real processes are killed, and everything acknowledged counts exactly once."""

from pathlib import Path

import pytest

from benchmarks.chaos import Plan, chaos

pytestmark = pytest.mark.processes


def test_whatever_is_killed_everything_acknowledged_counts_exactly_once(tmp_path: Path) -> None:
    plan = Plan(seconds=15, hits=4, each=1, stopped=3, every=10**6, judgments=20, pairs=1, chats=0.2, second_hub=False)
    outcome = chaos(tmp_path, plan, "sqlite", print)
    assert outcome.audit.differences == ()
    assert (outcome.audit.lost, outcome.audit.doubled, outcome.audit.reward_weight_difference) == (0, 0, 0)
    assert outcome.acknowledged >= 100
    assert outcome.audit.preferences > 100
    assert {hit.kind for hit in outcome.hits} >= {"hub", "serving"}
    assert all(hit.ready_after is not None for hit in outcome.hits)
