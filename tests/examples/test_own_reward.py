"""The example of a reward of one's own: it rises."""

from pathlib import Path

import pytest

from examples.own_reward import prompts, train

pytestmark = pytest.mark.training


def test_the_reward_rises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(set(prompts())) == 64
    rewards = train(tmp_path, epochs=6)
    assert len(rewards) == 6
    assert rewards[-1] > rewards[0] + 0.1
    assert (tmp_path / "policy" / "adapter_model.safetensors").is_file()
    assert "step  6 of 6" in capsys.readouterr().out
