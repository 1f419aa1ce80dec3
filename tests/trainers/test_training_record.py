"""What a training leaves beside its weights: metrics for TensorBoard, replies on the way, a manifest and a model card."""

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event

from storage.errors import DataRefused, TrainingError
from storage.events import Message
from storage.files import file_hash
from storage.settings import Common, Settings
from tests.profiles import NIGHTLY
from tests.trainers.test_dpo import preferred
from trainers.data.demonstration import Demonstration
from trainers.data.preference import decisive_training_rows
from trainers.models.policy import load_policy
from trainers.policy.adapters import LoRASettings
from trainers.policy.dpo import DPOSettings
from trainers.policy.launch import processes_of
from trainers.policy.methods import method
from trainers.policy.ppo import PPO
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.reply_samples import REPLIES, ReplySampler, ReplySamples, greedy_replies
from trainers.policy.sft import SFTSettings
from trainers.policy.train import train
from trainers.policy.training import Trained, TrainingInputs

pytestmark = pytest.mark.training

WEIGHTS = "adapter_model.safetensors"


def inputs(base: Path, folder: Path, settings: LoRASettings | None = None) -> TrainingInputs:
    rows = [replace(row, source="simulation") for row in preferred(40)]
    written = [Demonstration.of_reply((Message(role="user", content=f"Question {i}"),), f"Good day {i % 3}.") for i in range(24)]
    chosen = settings or DPOSettings(epochs=1, least_rows=8, learning_rate=1e-2)
    return TrainingInputs(str(base), rows, (), written, "d" * 64, chosen, Settings(Common(), {}), folder, lambda *said: None)


def scalars(folder: Path) -> Iterator[tuple[int, str, float]]:
    """The records of a TensorBoard file: length, its checksum, an event, its checksum."""
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            yield from ((event.step, value.tag, value.simple_value) for value in event.summary.value)
            data = data[16 + length :]


def test_the_metrics_of_every_step_are_in_the_tensorboard_files(tiny_model: Path, tmp_path: Path) -> None:
    said: dict[tuple[int, str], float] = {}

    def progress(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        said.update({(step, name): value for name, value in metrics.items()})

    train(method("dpo"), replace(inputs(tiny_model, tmp_path), progress=progress))
    written = {(step, name): value for step, name, value in scalars(tmp_path / "tensorboard")}
    assert {name for _, name in written} == {"loss", "reward_margin", "reward_accuracy"}
    assert written == {key: pytest.approx(value, rel=1e-6) for key, value in said.items()}


def test_the_manifest_names_all_inputs_and_the_card_says_that_they_are_simulated(tiny_model: Path, tmp_path: Path) -> None:
    given = replace(inputs(tiny_model, tmp_path), demonstrations=())
    trained = train(method("dpo"), given)
    manifest = json.loads((trained.adapter / "training.json").read_text())
    assert (manifest["method"], manifest["data"], manifest["sources"]) == ("dpo", "d" * 64, {"simulation": 40})
    assert manifest["settings"] == given.settings.model_dump(mode="json")
    assert manifest["files"][WEIGHTS] == file_hash(trained.adapter / WEIGHTS)
    assert manifest["metrics"] == trained.metrics
    card = (trained.adapter / "README.md").read_text()
    assert "They are simulated: no person has judged anything" in card
    assert "| learning_rate | 0.01 |" in card
    again = train(method("dpo"), replace(given, folder=tmp_path / "again"))
    assert {path.name: file_hash(path) for path in again.adapter.iterdir()} == {
        path.name: file_hash(path) for path in trained.adapter.iterdir()
    }
    judged = replace(given, folder=tmp_path / "people", preferences=[replace(row, source="product") for row in given.preferences])
    assert "simulated" not in (train(method("dpo"), judged).adapter / "README.md").read_text()


@pytest.mark.parametrize("name", ["sft", "dpo", "ppo"])
def test_replies_are_sampled_before_during_and_after_and_change_nothing(name: str, tiny_model: Path, tmp_path: Path) -> None:
    fast = {"lora_rank": 4, "seed": 1}
    settings: dict[str, LoRASettings] = {
        "sft": SFTSettings(epochs=4, least_rows=8, learning_rate=2e-2, checkpoints=2, **fast),
        "dpo": DPOSettings(epochs=2, least_rows=8, learning_rate=1e-2, checkpoints=2, **fast),
        "ppo": PPOSettings(
            steps=4, batch=8, minibatch=8, least_prompts=8, max_tokens=8, checkpoints=2, governor_every=0, critic_warmup=0,
            rewards={"length": -1.0}, learning_rate=1e-2, **fast,
        ),
    }  # fmt: skip
    adapters = []
    for count in (2, 0):
        chosen = settings[name].model_copy(update={"shown_prompts": count})
        trained = train(method(name), inputs(tiny_model, tmp_path / str(count), chosen))
        adapters.append(trained)
        assert (tmp_path / str(count) / REPLIES).exists() == (count > 0)
    found = ReplySamples.model_validate_json((tmp_path / "2" / REPLIES).read_bytes())
    assert [each.step for each in found.samples] == [0, trained.steps // 2, trained.steps]
    assert found.samples[0].replies == greedy_replies(load_policy(str(tiny_model)), found.prompts)
    assert found.samples[-1].replies == greedy_replies(load_policy(str(tiny_model), adapters[0].adapter), found.prompts)
    assert found.samples[-1] != found.samples[0]
    one, other = (load_file(each.adapter / WEIGHTS) for each in adapters)
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_resumed_training_keeps_the_replies_from_before(tiny_model: Path, tmp_path: Path) -> None:
    prompts = [(Message(role="user", content=f"Question {i}"),) for i in range(5)]
    policy = load_policy(str(tiny_model))
    for step in (0, 4, 8):
        ReplySampler(prompts, 2, tmp_path).sample(step, policy)
    ReplySampler(prompts[::-1], 2, tmp_path).sample(4, policy)  # killed after step 8, resumed from 2
    assert [each.step for each in ReplySamples.model_validate_json((tmp_path / REPLIES).read_bytes()).samples] == [0, 4]
    ReplySampler(prompts, 3, tmp_path).sample(4, policy)  # other prompts
    assert [each.step for each in ReplySamples.model_validate_json((tmp_path / REPLIES).read_bytes()).samples] == [4]


# ---- several processes ----


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["dpo", *(["sft"] if NIGHTLY else [])])
def test_two_processes_train_what_one_does_on_the_same_batches(name: str, tiny_model: Path, tmp_path: Path) -> None:
    """Two processes of one batch each take the step of one process with two batches. One of them reports, and one record is left."""
    trained: list[Trained] = []
    reported: list[list[int]] = []
    for processes in (1, 2):
        common = {"epochs": 1, "least_rows": 8, "learning_rate": 1e-3, "batch": 4, "processes": processes, "warmup": 0.5}
        common |= {"gradient_accumulation": 2 // processes}
        settings = SFTSettings(**common) if name == "sft" else DPOSettings(**common, half_life_days=None)
        given = inputs(tiny_model, tmp_path / str(processes), settings)
        given = replace(given, preferences=decisive_training_rows(given.preferences)[:24], demonstrations=given.demonstrations[:8])
        said: list[tuple[int, int, Mapping[str, float]]] = []
        trained.append(train(method(name), replace(given, progress=lambda *values, said=said: said.append(values))))
        reported.append([step for step, _, _ in said])
        assert sorted(path.name for path in given.folder.iterdir()) == ["policy", "replies.json", "tensorboard"]
    assert trained[0].steps == trained[1].steps
    assert reported[0] == reported[1] == list(range(1, trained[0].steps + 1))
    one, two = (load_file(each.adapter / WEIGHTS) for each in trained)
    for key, weight in one.items():
        assert torch.allclose(weight, two[key], atol=1e-6), key


def test_an_error_in_the_processes_is_the_callers_error(tiny_model: Path, tmp_path: Path) -> None:
    settings = DPOSettings(epochs=1, least_rows=100, processes=2)
    with pytest.raises(DataRefused, match="34 decisive comparisons are too few"):
        train(method("dpo"), inputs(tiny_model, tmp_path, settings))


CALLER = """
    import sys
    from pathlib import Path
    from dataclasses import replace
    from tests.trainers.test_training_record import inputs
    from trainers.policy.dpo import DPOSettings
    from trainers.policy.methods import method
    from trainers.policy.train import train

    settings = DPOSettings(epochs=1000, least_rows=8, processes=2)
    given = inputs(Path(sys.argv[1]), Path(sys.argv[2]), settings)
    train(method("dpo"), replace(given, progress=lambda *said: print(said[0], flush=True)))
"""


@pytest.mark.timeout(300)
def test_the_processes_end_when_their_caller_is_killed(tiny_model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CALLER), str(tiny_model), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as caller:
        assert caller.stdout is not None
        assert next(line for line in caller.stdout if line.strip().isdigit())
        processes = _running(tmp_path)
        assert len(processes) >= 2
        caller.send_signal(signal.SIGKILL)
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


def _running(folder: Path) -> list["object"]:
    import psutil

    return [each for each in psutil.process_iter() if "trainers.policy.launch" in (line := _line(each)) and str(folder) in line]


def _line(process: "object") -> str:
    import psutil

    try:
        return " ".join(process.cmdline())  # type: ignore[attr-defined]
    except psutil.Error:
        return ""


def test_a_process_of_a_launcher_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert processes_of(LoRASettings()) == 2
    assert processes_of(LoRASettings(processes=1)) == 1
    assert processes_of(LoRASettings(device_map="auto")) == 1
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes_of(LoRASettings()) == 1


# ---- half precision ----


def test_ppo_scales_the_gradients_of_a_model_in_half_precision(tiny_model: Path) -> None:
    """A gradient that overflows is left out, and the scale is lowered."""
    prompts = [[Message(role="user", content=f"Question {i}")] for i in range(8)]
    settings = PPOSettings(steps=3, batch=8, minibatch=8, epochs=1, max_tokens=6, critic_warmup=0, learning_rate=1e-2)
    policy = load_policy(str(tiny_model))
    policy.model.half()
    trainer = PPO(policy, settings)
    before = [parameter.detach().clone() for parameter in trainer.adapter]
    assert {parameter.dtype for parameter in trainer.adapter} == {torch.float32}
    scale = trainer.scaler.get_scale()
    assert scale > 1
    for number in range(3):
        trainer.step(number, prompts, lambda items: [float(len(reply)) for _, reply in items])
    assert any(not torch.equal(one, other) for one, other in zip(before, trainer.adapter, strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in trainer.adapter)
    full = PPO(load_policy(str(tiny_model)), settings)
    assert not full.scaler.is_enabled()


def test_losses_that_are_no_numbers_end_the_training(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="loss"):
        train(method("ppo"), inputs(tiny_model, tmp_path, PPOSettings(
            steps=4, batch=8, minibatch=8, least_prompts=8, max_tokens=8, governor_every=0, critic_warmup=0, learning_rate=1e30,
            rewards={"length": -1.0}, critic_learning_rate=1e30,
        )))  # fmt: skip
