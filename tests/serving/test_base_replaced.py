"""The base model's files are replaced on disk: serving refuses the adapter that was evaluated on the old ones, and says why."""

import shutil
from pathlib import Path

import pytest

from benchmarks.gates.promoted_world import PromotedWorld
from storage.settings import Settings
from streams.bus.open import bus_of
from streams.bus.protocol import records_of
from tests.serving.conftest import Start
from trainers.models.references import base_hash

pytestmark = pytest.mark.training


def test_after_the_base_was_replaced_its_adapter_is_refused_with_the_reason_until_the_old_base_is_back(
    start: Start, settings: Settings, tiny_model: Path, adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    settings = settings.with_values({"model": str(base)})
    settings.common.home.mkdir(mode=0o700)
    world = PromotedWorld(settings.common.home, base_hash=base_hash(str(base)), adapters={"one": adapter})
    version = world.grow("one").version
    bus = bus_of(settings)
    bus.publish(records_of(world.events), timeout=5)
    bus.close()

    def served() -> str:
        with start(settings) as server:
            return server.openai().models.list().data[0].id

    assert served() == version
    torch.manual_seed(7)
    other = AutoModelForCausalLM.from_pretrained(base)
    for weights in other.parameters():
        torch.nn.init.normal_(weights)
    other.save_pretrained(base)
    assert served() == "base"
    assert f"cannot serve champion {version}" in caplog.text
    assert "the base model's files changed" in caplog.text
    shutil.rmtree(base)
    shutil.copytree(tiny_model, base)
    assert served() == version
