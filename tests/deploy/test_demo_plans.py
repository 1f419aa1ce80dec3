"""The demo's plans by model, and its start on demonstrations."""

import json
from pathlib import Path

import pytest

from deploy import demo_start
from deploy.demo import demo_settings, environment_of
from deploy.demo_plans import PLANS, SHIPPED, SMOLLM2, DemoPlan, plan_for
from deploy.demo_start import starting_model
from storage.errors import FeedbackLoopError
from storage.settings import Settings, sections
from trainers.audits.table import audits
from trainers.models.references import layers, resolve_model

WITH_DEMONSTRATIONS = DemoPlan("shipped", 4, {"sft": {"epochs": 2}}, demonstrations=3)


def settings_of(folder: Path, model: str) -> Settings:
    return Settings.read(folder, {"FEEDBACKLOOP_HOME": str(folder / "home"), "FEEDBACKLOOP_MODEL": model})


def test_each_model_has_its_plan_and_any_other_the_shipped_ones(tmp_path: Path) -> None:
    assert plan_for(settings_of(tmp_path, "smollm2")) is SMOLLM2
    assert plan_for(settings_of(tmp_path, "shipped")) is plan_for(settings_of(tmp_path, "some/id")) is SHIPPED


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.model)
def test_a_plan_sets_only_what_exists_and_reaches_every_process(plan: DemoPlan, tmp_path: Path) -> None:
    found = demo_settings(settings_of(tmp_path, plan.model), plan)
    for name, values in plan.sections.items():
        section = found.section(name, sections()[name]).model_dump(mode="json", exclude_unset=True)
        assert section == json.loads(json.dumps(values))
    assert found.common.sources == ("simulation",)
    again = Settings.read(tmp_path, environment_of(found))
    for name in plan.sections:
        assert again.section(name, sections()[name]).model_dump() == found.section(name, sections()[name]).model_dump()


def test_a_plan_that_may_not_pass_lacks_evidence_for_a_gate_whatever_comes(tmp_path: Path) -> None:
    """Its prompts are fewer than the win rate's gate asks for, so no version of such a demo can become champion."""
    limits = audits()["win_rate"].limits().model_dump()
    for plan in PLANS:
        prompts = plan.sections.get("evaluation", {}).get("prompts", 810)
        assert (prompts >= limits["min_prompts"]) is plan.may_pass
        assert "min_prompts" not in str(plan.sections.get("gates", {}))
        assert bool(plan.notice) is not plan.may_pass


def test_a_model_without_demonstrations_starts_as_it_is(tmp_path: Path) -> None:
    assert starting_model(SHIPPED, 0, tmp_path, {}, pytest.fail) == "shipped"


def test_a_model_is_trained_on_demonstrations_once_for_each_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], environment: object = None) -> None:
        commands.append(command)
        out = next((Path(word.removeprefix("--out=")) for word in command if word.startswith("--out=")), tmp_path)
        if "train" in command:
            (out / "policy").mkdir()

    monkeypatch.setattr(demo_start, "_run", run)
    said: list[str] = []
    first = starting_model(WITH_DEMONSTRATIONS, 0, tmp_path, {}, said.append)
    assert [("simulation" in command, "train" in command) for command in commands] == [(True, False), (False, True)]
    assert starting_model(WITH_DEMONSTRATIONS, 0, tmp_path, {}, said.append) == first
    assert len(commands) == 2
    assert said[-1] == f"trained on 3 demonstrations before: {first}"
    assert starting_model(WITH_DEMONSTRATIONS, 1, tmp_path, {}, said.append) != first


@pytest.mark.training
def test_the_training_on_demonstrations_gives_an_adapter(tmp_path: Path) -> None:
    plan = DemoPlan("shipped", 4, demonstrations=48)
    environment = {"FEEDBACKLOOP_SFT__EPOCHS": "1", "OMP_NUM_THREADS": "1"}
    adapter = starting_model(plan, 0, tmp_path / "models", environment, lambda line: None)
    base, adapters = layers(adapter)
    assert (base, adapters) == (resolve_model("shipped"), (Path(adapter),))


def test_a_training_that_fails_ends_the_demo(tmp_path: Path) -> None:
    plan = DemoPlan("shipped", 4, demonstrations=3)  # fewer than a training takes
    with pytest.raises(FeedbackLoopError, match="ended with exit code 1; its reason is above"):
        starting_model(plan, 0, tmp_path / "models", {}, lambda line: None)
