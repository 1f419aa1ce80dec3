"""A whole run on a real snapshot with a model small enough for a test: resumed, repeated, refused."""

import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.artifacts import Artifacts
from storage.errors import ConfigurationError, DataRefused, TrainingError
from storage.settings import Settings
from storage.snapshots.snapshot import freeze
from storage.warehouse.warehouse import Warehouse
from tests.trainers.conftest import RUN
from trainers.api import evaluate_policy, train_policy
from trainers.audits.audit import Finding
from trainers.audits.table import AUDITS, audits
from trainers.audits.trial import Trial
from trainers.reward.model import RewardModel
from trainers.reward.validation import read_report
from trainers.runs.data import RunData
from trainers.runs.job import Job
from trainers.runs.pipeline import STAGES, Outcome, run
from trainers.runs.report import Report
from trainers.runs.settings import RunSettings

pytestmark = pytest.mark.training


def job(run_settings: Settings, snapshot: Path, champion: str = "base", policy: Path | None = None, before: int = 0) -> Job:
    return Job(RUN, snapshot, run_settings.common.model, champion, policy, before, RunSettings.read(run_settings, "dpo"))


@pytest.fixture(scope="module")
def finished(
    run_settings: Settings, snapshot: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Artifacts, Outcome, list[str]]:
    """A run whose trainer was killed at the first step of every stage but the first, and started again each time."""

    class Killed(Exception):
        pass

    folder = tmp_path_factory.mktemp("run")
    artifacts = Artifacts(str(folder / "artifacts"))
    calls: list[str] = []
    for stage in (*STAGES[1:], "nowhere"):

        def progress(at: str, step: int, steps: int, metrics: dict[str, float], made: dict[str, str], stage: str = stage) -> None:
            calls.append(f"{at} {made['data_docs']}" if "data_docs" in made else at)
            if at == stage:
                raise Killed

        try:
            outcome = run(job(run_settings, snapshot), folder / "run", artifacts, progress)
        except Killed:
            continue
    return folder / "run", artifacts, outcome, calls


def test_a_run_killed_in_every_stage_ends_with_a_judged_challenger(finished: tuple[Path, Artifacts, Outcome, list[str]]) -> None:
    _, artifacts, outcome, calls = finished
    assert outcome.version == f"v-{outcome.policy[:12]}"
    assert (artifacts.get(outcome.policy) / "adapter_model.safetensors").is_file()
    assert [gate.name for gate in outcome.gates] == list(audits())
    assert {gate.verdict for gate in outcome.gates if gate.name != "name_contrast"} == {"insufficient"}
    assert outcome.verdict != "passed"
    assert calls.count("check") == 1  # started once: a finished stage is not repeated
    assert len({each for each in calls if each.startswith("check ")}) == 1  # and each restart reports the same artifact
    assert list(outcome.seconds) == list(STAGES)


def test_the_report_says_what_was_found_and_on_what(finished: tuple[Path, Artifacts, Outcome, list[str]], snapshot: Path) -> None:
    _, artifacts, outcome, _ = finished
    report = Report.model_validate_json(artifacts.read(outcome.report))
    assert (report.version, report.champion, report.run_id) == (outcome.version, "base", RUN)
    assert report.gates == outcome.gates
    assert report.lineage.versions["torch"] == version("torch")
    assert len(report.replies) == 10
    assert [reply.chosen_as for reply in report.replies] == ["worst"] * 5 + ["random"] * 5
    worst = [reply.reward_difference for reply in report.replies[:5]]
    assert worst == sorted(worst)
    assert len({reply.prompt for reply in report.replies}) == 10
    assert report.findings["win_rate"]["prompts"] == report.data.prompts == report.findings["conduct"]["n"]
    assert report.findings["length"]["base"] == report.findings["length"]["champion"]  # one model, sampled once
    assert report.data.decisive == report.data.used == report.training.rows if report.training else False
    assert report.findings["facts"]["champion"] == report.findings["facts"]["base"]
    assert report.findings["kl_budget"]["base"] == report.findings["kl_budget"]["champion"]


def test_a_finished_run_is_not_done_again_and_another_job_is_not_mixed_in(
    finished: tuple[Path, Artifacts, Outcome, list[str]], run_settings: Settings, snapshot: Path
) -> None:
    folder, artifacts, outcome, _ = finished

    def nothing(stage: str, step: int, steps: int, metrics: dict[str, float], made: dict[str, str]) -> None:
        assert made, f"{stage} was done again"

    assert run(job(run_settings, snapshot), folder, artifacts, nothing) == outcome
    with pytest.raises(TrainingError, match="another job"):
        run(job(run_settings, snapshot, before=1), folder, artifacts, nothing)


def test_a_stage_in_the_form_of_an_older_version_is_done_again_with_those_after_it(
    finished: tuple[Path, Artifacts, Outcome, list[str]], run_settings: Settings, snapshot: Path, tmp_path: Path
) -> None:
    folder, artifacts, outcome, _ = finished
    resumed = tmp_path / "resumed"
    shutil.copytree(folder, resumed)
    old = json.loads((resumed / "sample.json").read_bytes())
    del old["result"]["base"]
    (resumed / "sample.json").write_text(json.dumps(old))
    started: list[str] = []
    again = run(job(run_settings, snapshot), resumed, artifacts, lambda stage, *_: started.append(stage))
    assert list(dict.fromkeys(started)) == ["check", "train", "sample", "evaluate", "gates"]  # the first two report their artifacts
    assert started.count("train") == 1
    assert (again.policy, again.gates) == (outcome.policy, outcome.gates)


def test_an_audit_that_raises_is_named_and_the_run_has_no_verdict_until_it_works(
    finished: tuple[Path, Artifacts, Outcome, list[str]],
    run_settings: Settings,
    snapshot: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, artifacts, outcome, _ = finished
    resumed = tmp_path / "resumed"
    shutil.copytree(folder, resumed)
    for stage in ("evaluate", "gates"):
        (resumed / f"{stage}.json").unlink()

    def crash(trial: Trial) -> Finding:
        raise ZeroDivisionError("division by zero")

    first, *rest = AUDITS
    with monkeypatch.context() as patched:
        patched.setattr("trainers.audits.table.AUDITS", (replace(first, measure=crash), *rest))
        with pytest.raises(ZeroDivisionError) as caught:
            run(job(run_settings, snapshot), resumed, artifacts, lambda *_: None)
    assert caught.value.__notes__ == [f"in the audit {first.name}"]
    assert not (resumed / "evaluate.json").exists()
    assert run(job(run_settings, snapshot), resumed, artifacts, lambda *_: None).gates == outcome.gates


def test_a_run_trains_a_reward_model_beside_the_policy_and_audits_that(
    finished: tuple[Path, Artifacts, Outcome, list[str]], run_settings: Settings, snapshot: Path, tmp_path: Path
) -> None:
    _, artifacts, before, _ = finished
    own = run_settings.with_values(evaluation={"reward": "ensemble"}, ensemble={"heads": 2})
    made: dict[str, str] = {}
    outcome = run(job(own, snapshot), tmp_path / "run", artifacts, lambda stage, step, steps, metrics, stored: made.update(stored))
    report = Report.model_validate_json(artifacts.read(outcome.report))
    assert report.reward_model == made["reward_model"]
    assert outcome.policy == before.policy
    folder = artifacts.get(made["reward_model"])
    saved = read_report(folder)
    assert saved is not None
    assert (saved.kind, [gate.name for gate in saved.checks]) == ("ensemble", ["name_contrast", "reward_probes"])
    assert report.settings["ensemble"]["heads"] == 2
    assert saved.absolute is not None
    assert saved.absolute.ratings == sum(each.stratum == "training" for each in RunData.read(snapshot).ratings) > 0
    assert (folder / "absolute.json").is_file()

    contrasts = {gate.name: gate.figure for gate in outcome.gates}["name_contrast"]
    assert contrasts != {gate.name: gate.figure for gate in before.gates}["name_contrast"]
    again = RewardModel.load(folder, own)
    assert len(again.score("When is my interview?", ["On Monday.", "Soon."])) == 2


def test_a_run_that_was_requested_with_other_settings_than_this_version_has_is_refused(run_settings: Settings) -> None:
    frozen = RunSettings.read(run_settings, "dpo").freeze()
    gates = {name: limits for name, limits in frozen.sections["gates"].items() if name != "length"}
    older = frozen.model_copy(update={"sections": frozen.sections | {"gates": gates}})
    assert RunSettings.of(frozen).freeze() == frozen
    with pytest.raises(ConfigurationError, match="other settings in gates: request a new run"):
        RunSettings.of(older)


def test_challenger_champion_and_base_are_sampled_with_the_same_random_numbers(
    finished: tuple[Path, Artifacts, Outcome, list[str]], run_settings: Settings, snapshot: Path, tmp_path: Path
) -> None:
    _, artifacts, outcome, _ = finished
    champion = artifacts.get(outcome.policy)
    second = run(job(run_settings, snapshot, outcome.version, champion, 1), tmp_path, artifacts, lambda *_: None)
    report = Report.model_validate_json(artifacts.read(second.report))
    # the same data and settings train the same policy: it differs from the base and not from itself
    assert second.policy == outcome.policy
    moved = report.findings["kl_budget"]
    assert moved["champion"]["per_reply"]["figure"] == 0 < moved["base"]["per_reply"]["figure"]
    assert report.champion_policy == outcome.policy
    sampled = json.loads((tmp_path / "sample.json").read_bytes())["result"]
    assert sampled["challenger"] == sampled["champion"] != sampled["base"]
    assert report.findings["win_rate"]["alpha"] == pytest.approx(6 * 0.05 / (np.pi * 2) ** 2)


def test_a_snapshot_that_fails_its_expectations_ends_the_run_and_names_them(run_settings: Settings, tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        freeze(warehouse, tmp_path / "empty", run_id=RUN, through_sequence=0, sources=("simulation",))
    artifacts, reported = Artifacts(str(tmp_path / "artifacts")), list[Any]()

    def progress(*arguments: Any) -> None:
        reported.append(arguments)

    with pytest.raises(DataRefused, match="expectations"):
        run(job(run_settings, tmp_path / "empty"), tmp_path / "run", artifacts, progress)
    (pages,) = {artifacts.get(call[4]["data_docs"]) for call in reported if call[4]}
    assert "training.enough_rows" in (pages / "index.html").read_text()
    assert len(list(pages.glob("validations/training/**/*.html"))) == 1


def test_a_file_of_records_trains_and_judges_without_bus_or_hub(run_settings: Settings, tmp_path: Path, tiny_model: Path) -> None:
    import orjson

    records = [
        {"prompt": f"Any news? I wrote {i} times.", "chosen": "Hello, by Friday.", "rejected": f"Hello, see the portal {i}."}
        for i in range(60)
    ]
    data = tmp_path / "records.jsonl"
    data.write_bytes(b"\n".join(map(orjson.dumps, records)))
    trained = train_policy(run_settings, data, str(tiny_model), tmp_path / "out")
    assert trained.adapter == tmp_path / "out" / "policy"
    stages: list[str] = []
    report = evaluate_policy(
        run_settings,
        data,
        str(trained.adapter),
        str(tiny_model),
        tmp_path / "out",
        lambda stage, step, steps, metrics: stages.append(stage),
    )
    assert Report.model_validate_json((tmp_path / "out" / "report.json").read_bytes()) == report
    assert report.verdict == "insufficient"
    assert set(stages) == {"sample", "evaluate"}
    assert report.findings["kl_budget"]["base"]["per_reply"]["figure"] > 0
    itself = evaluate_policy(run_settings, data, str(tiny_model), str(tiny_model), tmp_path / "itself")
    assert itself.findings["kl_budget"]["champion"]["per_reply"]["figure"] == 0
