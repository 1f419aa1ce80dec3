"""QLoRA: adapters are trained on a base model in four bits, on a CPU too.

On the shipped model: bitsandbytes quantises in blocks of 64 weights, and the tiny one has rows of 32.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from storage.errors import ConfigurationError
from tests.trainers.test_dpo import preferred
from tests.trainers.test_fine_tuning import Said, demonstrations
from tests.trainers.test_ppo import FAST, exclamations, prompts
from trainers.models import policy as policies
from trainers.models.policy import load_policy
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.ppo import train_ppo
from trainers.policy.sft import SFTSettings, train_sft
from trainers.policy.training import Trained

pytestmark = pytest.mark.training
QUICK = {"epochs": 1, "least_rows": 8, "learning_rate": 5e-3, "quantization": "4bit"}


def trained(method: str, folder: Path) -> tuple[Trained, Said]:
    said = Said()
    if method == "sft":
        return train_sft("shipped", demonstrations(32), [], SFTSettings.model_validate(QUICK), folder, said), said
    if method == "dpo":
        return train_dpo("shipped", preferred(32), DPOSettings.model_validate(QUICK), folder, said), said
    settings = FAST.model_copy(update={"quantization": "4bit", "critic_warmup": 0})
    return train_ppo("shipped", prompts(8), exclamations, settings, folder, said), said


@pytest.mark.parametrize("method", ["sft", "dpo", "ppo"])
def test_an_adapter_is_trained_on_four_bits_and_loaded_on_the_full_weights(method: str, tmp_path: Path) -> None:
    done, said = trained(method, tmp_path)
    if method == "ppo":
        assert all(metrics["first_ratio"] <= 1e-3 for metrics in said.metrics)
    else:
        assert said.metrics[-1]["loss"] < said.metrics[0]["loss"]
    policy = load_policy("shipped", done.adapter)
    assert policy.model.dtype.itemsize == 4


def test_four_bit_weights_take_less_room_and_nearly_say_the_same() -> None:
    full, small = load_policy("shipped"), load_policy("shipped", quantization="4bit")
    ids = full.tokenizer("Question", return_tensors="pt")["input_ids"]
    exact, near = (each.model(ids).logits.detach().numpy().ravel() for each in (full, small))
    assert np.corrcoef(exact, near)[0, 1] > 0.9

    def size(policy: policies.Policy) -> int:
        layers: Sequence[object] = policy.model.model.layers
        return sum(p.numel() * p.element_size() for layer in layers for p in layer.parameters())  # type: ignore[attr-defined]

    assert size(small) < 0.3 * size(full)


def test_without_bitsandbytes_and_on_an_adapter_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, _ = trained("sft", tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be merged into 4bit weights"):
        load_policy(str(done.adapter), quantization="4bit")
    monkeypatch.setattr(policies, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'feedbackloop\[qlora\]'"):
        load_policy("shipped", quantization="4bit")
