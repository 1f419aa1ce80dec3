"""The file of ``train --config``: options, sections, overrides, and what is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.cli.run_config import RunConfig
from storage.errors import ConfigurationError
from storage.settings import Common, Settings
from tests.trainers.conftest import tiny_model  # noqa: F401
from trainers.phases import phase
from trainers.policy.dpo import DPOSettings

DPO = "phase: dpo\ndata: judgments.jsonl\ndpo:\n  beta: 0.2\n  lora_modules: [q_proj, v_proj]\n"


def written(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_yaml_and_toml_say_the_same_and_set_overrides_both(tmp_path: Path) -> None:
    toml = 'phase = "dpo"\ndata = "judgments.jsonl"\n[dpo]\nbeta = 0.2\nlora_modules = ["q_proj", "v_proj"]\n'
    for path in (written(tmp_path, DPO), written(tmp_path, toml, "run.toml")):
        run = RunConfig.read(path, ["dpo.beta=0.05", "dpo.seed=7"])
        assert run.options == {"phase": "dpo", "data": "judgments.jsonl"}
        found = run.applied(Settings(Common(), {"dpo": {"epochs": 2}}), [phase("dpo")]).section("dpo", DPOSettings)
        assert (found.beta, found.seed, found.lora_modules, found.epochs) == (0.05, 7, ("q_proj", "v_proj"), 2)


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("dpo: {betaa: 1}", [], r"run\.yaml \[dpo\]: betaa: no such setting; do you mean beta"),
        ("ppo: {steps: 2}", [], r"nothing uses \[ppo\] when dpo is trained"),
        ("serving: {port: 1}", [], r"nothing uses \[serving\]"),
        ("phases: dpo", [], "there is no option 'phases'"),
        ("dpo: [", [], "cannot be read as YAML"),
        ("- dpo", [], "expected options and sections, not a list"),
        ("", ["dpo.beta"], r"--set dpo\.beta: write SECTION\.KEY=VALUE"),
        ("", ["beta=1"], "write SECTION"),
        ("", ["dpo.beta=-1"], r"\[dpo\]: beta: Input should be greater than 0"),
    ],
)
def test_what_is_wrong_is_named(text: str, overrides: list[str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=words):
        RunConfig.read(written(tmp_path, text), overrides).applied(Settings(Common()), [phase("dpo")])


def test_the_sections_of_reward_models_are_used_by_the_phases_that_fit_one(tmp_path: Path) -> None:
    run = RunConfig.read(written(tmp_path, "ensemble: {heads: 3}\nfeatures: {prompt_tokens: 64}"))
    for name in ("reward", "ppo"):
        assert run.applied(Settings(Common()), [phase(name)]).sections["ensemble"] == {"heads": 3}
    with pytest.raises(ConfigurationError, match="nothing uses"):
        run.applied(Settings(Common()), [phase("sft")])


def test_a_missing_file_and_a_missing_phase_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = CliRunner().invoke(app, ["train", "--config", "no.yaml"])
    assert "no.yaml: there is no such file" in str(missing.exception)
    nothing = CliRunner().invoke(app, ["train"])
    assert "say what to train" in str(nothing.exception)


@pytest.mark.training
def test_all_phases_train_from_one_file_and_print_their_settings(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDBACKLOOP_HOME", str(tmp_path / "home"))
    records = [{"prompt": f"Question {i}?", "chosen": f"On day {i}, dear candidate.", "rejected": f"Some day {i}."} for i in range(120)]
    written(tmp_path, "\n".join(map(json.dumps, records)), "judgments.jsonl")
    written(
        tmp_path,
        f"""
phase: all
data: judgments.jsonl
model: {tiny_model}
out: trained
sft: {{chosen: true, epochs: 1}}
dpo: {{epochs: 1}}
ppo: {{steps: 2, batch: 16, minibatch: 8, epochs: 1, max_tokens: 8, rewards: {{length: 1.0}}}}
""",
    )
    done = CliRunner().invoke(app, ["train", "--config", "run.yaml", "--set", "dpo.beta=0.2", "--json", "result.json"])
    assert done.exception is None, done.output
    assert "[dpo] " in done.output
    assert "beta = 0.2" in done.output
    found = json.loads((tmp_path / "result.json").read_text())
    assert list(found) == ["sft", "reward", "dpo", "kto", "ppo"]
    assert "0 ratings of single replies are too few" in found["kto"]["skipped"]
    for name in ("sft", "dpo", "ppo"):
        assert (tmp_path / "trained" / name / "policy" / "adapter_model.safetensors").is_file()
    base = json.loads((tmp_path / "trained" / "dpo" / "policy" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(base) == Path("trained") / "sft" / "policy"
