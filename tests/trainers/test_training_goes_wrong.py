"""What goes wrong in trainings: each is stopped, before hours are spent where it can be known, with one line that says what to do."""

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.artifacts import Artifacts
from storage.errors import ConfigurationError, DataRefused, Diverged, FeedbackLoopError, ModelNotFound, TrainingError
from storage.events import Message
from storage.settings import Settings
from tests.trainers.conftest import RUN
from tests.trainers.model_kinds import KINDS, write_model
from tests.trainers.test_dpo import preferred
from tests.trainers.test_fine_tuning import Said, demonstrations, rated
from tests.trainers.test_ppo import FAST, exclamations, prompts
from trainers.api import evaluate_policy, train_policy
from trainers.data.preference import Preference
from trainers.models import policy as policies
from trainers.policy import preflight as preflights
from trainers.policy.adapters import LoRASettings
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.kto import KTOSettings, train_kto
from trainers.policy.ppo import train_ppo
from trainers.policy.preflight import adapter_weights, bytes_written, preflight
from trainers.policy.sft import SFTSettings, train_sft
from trainers.runs.data import RunData
from trainers.runs.job import Job
from trainers.runs.pipeline import run
from trainers.runs.settings import RunSettings

pytestmark = pytest.mark.training

METHODS = ("sft", "dpo", "kto", "ppo")


def train(method: str, model: Path | str, folder: Path, **settings: Any) -> Said:
    said, given = Said(), {"epochs": 1, "least_rows": 8, "batch": 8} | settings
    match method:
        case "sft":
            train_sft(str(model), demonstrations(32), [], SFTSettings.model_validate(given), folder, said)
        case "dpo":
            train_dpo(str(model), preferred(32), DPOSettings.model_validate(given), folder, said)
        case "kto":
            train_kto(str(model), rated(32), KTOSettings.model_validate(given), folder, said)
        case "ppo":
            train_ppo(str(model), prompts(16), exclamations, FAST.model_copy(update={"critic_warmup": 0} | settings), folder, said)
    return said


def never(*args: Any, **options: Any) -> Any:
    raise AssertionError("this is too late")


# ---- data ----


def test_no_comparison_is_refused_before_a_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "load_policy", never)
    with pytest.raises(DataRefused, match="0 decisive comparisons are too few to train on; at least 32 are needed"):
        train_dpo("shipped", [], DPOSettings(), tmp_path, Said())


def test_equal_replies_are_counted_in_the_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "load_policy", never)
    rows = [Preference.of_replies((Message(role="user", content=f"Question {i}"),), "Yes.", "Yes.") for i in range(40)]
    words = r"2 decisive comparisons \(without 40 of two equal replies\) are too few to train on; at least 32"
    with pytest.raises(DataRefused, match=words):
        train_dpo("shipped", [*rows, *preferred(2)], DPOSettings(), tmp_path, Said())


def test_a_reply_longer_than_the_model_s_window_is_counted(tmp_path: Path) -> None:
    model = write_model(KINDS["gpt-2"], tmp_path / "model")
    rows = [Preference.of_replies((Message(role="user", content=f"Q {i}"),), "yes " * 50, "no") for i in range(16)]
    with pytest.raises(DataRefused, match="16 of 16 rows do not fit into the model's window of 160 tokens: shorten the replies"):
        train_dpo(str(model), rows, DPOSettings(least_rows=8), tmp_path / "out", Said())


def test_replies_that_leave_no_room_for_a_prompt_are_refused(tmp_path: Path) -> None:
    model = write_model(KINDS["gpt-2"], tmp_path / "model")
    with pytest.raises(ConfigurationError, match="max_tokens = 150 leaves 10 of the model's window of 160 tokens for a prompt: lower"):
        train("ppo", model, tmp_path / "out", max_tokens=150)


# ---- numbers ----


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_no_number_ends_the_training_at_its_step(method: str, tiny_model: Path, tmp_path: Path) -> None:
    words = "is nan at step 1 of 3; no adapter was written: lower learning_rate = 1e\\+30" if method == "ppo" else (
        "the loss is nan at step 3 of 4; no adapter was written: lower learning_rate = 1e\\+30 and start again"
    )  # fmt: skip
    with pytest.raises(Diverged, match=words):
        train(method, tiny_model, tmp_path, learning_rate=1e30)
    assert not list(tmp_path.rglob("*.safetensors"))
    train(method, tiny_model, tmp_path)  # starts afresh, not from a checkpoint of what went wrong
    assert (tmp_path / "policy" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("method", METHODS)
def test_a_base_model_of_nan_is_named_as_the_cause(method: str, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    model: Any = AutoModelForCausalLM.from_pretrained(broken)
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(Diverged, match="the base model gives no finite numbers; check its weights"):
        train(method, broken, tmp_path / "out")


def test_weights_that_the_last_step_made_infinite_are_not_written(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="the trained weights are not finite numbers"):
        train("sft", tiny_model, tmp_path, learning_rate=1e39, batch=32, warmup=0.0)
    assert not (tmp_path / "policy").exists()


# ---- the model ----


@pytest.mark.parametrize("method", METHODS)
def test_a_tokenizer_without_an_end_is_named_before_weights_are_read(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "_load_model", never)
    model = write_model(KINDS["gpt-2"], tmp_path / "model", eos_token=None, bos_token=None)
    with pytest.raises(ModelNotFound, match=r"has no token that ends a reply; set eos_token in tokenizer_config\.json"):
        train(method, model, tmp_path / "out")


def test_a_template_that_ends_turns_is_enough_where_eos_and_pad_are_missing(tmp_path: Path) -> None:
    model = write_model(KINDS["llama-3"], tmp_path / "model", eos_token=None)
    for method in METHODS:
        train(method, model, tmp_path / method)
    assert policies.load_policy(str(model)).chat.end == 4


@pytest.mark.parametrize("method", METHODS)
def test_a_missing_library_is_named_before_weights_are_read(
    method: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "_load_model", never)
    monkeypatch.setattr(policies, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"needs bitsandbytes, which is not installed: pip install 'feedbackloop\[qlora\]'"):
        train(method, tiny_model, tmp_path, quantization="4bit")


def test_modules_that_the_model_does_not_have_are_named(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"lora_modules = \('c_attn',\): "):
        train("sft", tiny_model, tmp_path, lora_modules=["c_attn"])


# ---- the disk ----


@pytest.mark.parametrize("method", METHODS)
def test_a_disk_without_room_is_named_before_weights_are_read(
    method: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(policies, "_load_model", never)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(10**9, 10**9 - 10**7, 10**7))
    with pytest.raises(TrainingError, match=r"10 MB are free, and checkpoints and adapter take up to 3\d MB: free some"):
        train(method, tiny_model, tmp_path)


@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_a_training_writes_no_more_than_was_foreseen(method: str, tiny_model: Path, tmp_path: Path) -> None:
    """At most what :func:`bytes_written` says, without its allowance for small files, and no less than half of it."""
    settings = LoRASettings(lora_rank=64)
    most = [0]

    def written(*_: object) -> None:
        found = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".safetensors", ".pt", ".bin")]
        most[0] = max(most[0], sum(found))

    if method == "sft":
        given = SFTSettings(lora_rank=64, least_rows=8, epochs=2)
        train_sft(str(tiny_model), demonstrations(32), [], given, tmp_path, written)
    else:
        train_ppo(str(tiny_model), prompts(16), exclamations, FAST.model_copy(update={"lora_rank": 64}), tmp_path, written)
    weights = adapter_weights(str(tiny_model), settings)
    assert (tmp_path / "policy" / "adapter_model.safetensors").stat().st_size == pytest.approx(4 * weights, rel=0.1)
    foreseen = bytes_written(weights) - preflights.TOKENIZER_AND_LOGS
    assert 0.4 * foreseen < most[0] < foreseen


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"file/out: it cannot be written to .*; name another folder"):
        preflight(str(tiny_model), LoRASettings(), tmp_path / "file" / "out")
    with pytest.raises(ConfigurationError, match="file/out: it cannot be written to"):
        evaluate_policy(Settings.read(tmp_path, {}), tmp_path / "none", str(tiny_model), str(tiny_model), tmp_path / "file" / "out")


# ---- the run of the loop ----


def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflights, "bytes_written", lambda weights: 10**18)


def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "find_spec", lambda name: None)


@pytest.mark.parametrize(
    ("method", "section", "break_it", "words"),
    [
        ("dpo", {"least_rows": 1000}, None, "decisive comparisons are too few"),
        ("dpo", {"learning_rate": 1e30}, None, "lower learning_rate"),
        ("dpo", {"quantization": "4bit"}, no_library, "needs bitsandbytes"),
        ("ppo", {}, no_room, "checkpoints and adapter take up to"),
        ("ppo", {"rewards": {"head": 1.0}, "governor_every": 0}, None, "may not train a policy"),
    ],
)
def test_a_run_fails_with_the_reason(
    method: str, section: dict[str, Any], break_it: Callable[[pytest.MonkeyPatch], None] | None, words: str, run_settings: Settings,
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The message is what the trainer publishes as the reason of its ``TrainingFailed``, in one line."""
    if break_it is not None:
        break_it(monkeypatch)
    settings = run_settings.with_values(**{method: {"least_prompts": 8} if method == "ppo" else {}})
    settings = settings.with_values(**{method: section})
    job = Job(RUN, snapshot, settings.common.model, "base", None, 0, RunSettings.read(settings, method))
    with pytest.raises(FeedbackLoopError, match=words) as failed:
        run(job, tmp_path / "run", Artifacts(str(tmp_path / "artifacts")), lambda *_: None)
    assert "\n" not in str(failed.value)


def test_a_reward_model_that_failed_its_validation_trains_nothing(
    run_settings: Settings, snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies, "_load_model", never)
    settings = run_settings.with_values(ppo={"least_prompts": 8, "governor_every": 0, "rewards": {"head": 1.0}})
    with pytest.raises(DataRefused, match="may not train a policy"):
        train_policy(settings, RunData.read(snapshot), run_settings.common.model, tmp_path, method="ppo")
