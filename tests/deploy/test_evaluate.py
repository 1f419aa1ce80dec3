"""``feedbackloop evaluate``: which models its names mean, which judgments it takes, what it prints and draws, and its errors."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from deploy.cli.contenders import ModelNames
from deploy.cli.evaluate import evaluated
from deploy.cli.evaluation_data import evaluation_data
from deploy.cli.evaluation_pictures import policies_html, severity_html
from deploy.cli.evaluation_text import as_text
from deploy.cli.records import import_records
from deploy.cli.simulated_tasks import simulated_tasks
from simulation.corpus import fill
from simulation.world import Record, draw_conversation
from storage.errors import ConfigurationError, DataRefused, FeedbackLoopError, ModelNotFound
from storage.events import Message
from storage.settings import Settings
from storage.strata import conversation_of, stratum_of
from streams.bus.open import bus_of
from tests.dashboard.evaluated import report_on
from tests.dashboard.small_world import SmallWorld
from tests.deploy.test_cli import ROOT, feedbackloop
from trainers.audits.statistics.intervals import Interval
from trainers.evaluation.contender import model_ref
from trainers.evaluation.policies import PolicyReward, PolicyRewards
from trainers.evaluation.robustness import Point, Robustness
from trainers.evaluation.severity import AXES, LEVELS
from trainers.runs.report import Report

RECORDS = [{"prompt": f"Question {i}?", "chosen": f"A good answer to {i}.", "rejected": f"A bad answer to {i}."} for i in range(40)]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.read(tmp_path, {}).with_values({"home": tmp_path / "home"}, hub={"port": 1})


@pytest.fixture
def world(settings: Settings) -> Iterator[SmallWorld]:
    """A loop with two versions, neither of them champion."""
    settings.common.home.mkdir()
    with closing(bus_of(settings)) as bus:
        world = SmallWorld(settings, bus)
        for k, policy in enumerate(("one", "two"), 1):
            world.evaluate(world.request(k), policy)
        yield world


def data_file(folder: Path) -> Path:
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


def test_a_version_is_found_by_its_first_characters_with_its_adapter_from_the_store(settings: Settings, world: SmallWorld) -> None:
    names = ModelNames(settings)
    for version, policy in world.policies.items():
        for word in (version, version[:6]):
            found = names.find(word)
            assert (found.name, found.policy, found.base) == (version, policy, "shipped")
            assert found.ref.adapter is not None
            assert found.ref.adapter.read_text() in ("one", "two")
            assert not found.is_whole


def test_an_unknown_or_ambiguous_version_is_refused_in_one_line_that_names_what_there_is(settings: Settings, world: SmallWorld) -> None:
    names = ModelNames(settings)
    with pytest.raises(ConfigurationError) as unknown:
        names.find("v-0000000000000000")
    assert str(unknown.value) == f"there is no version 'v-0000000000000000'; the newest are {', '.join(world.policies)}"
    with pytest.raises(ConfigurationError) as ambiguous:
        names.find("v-")
    assert str(ambiguous.value) == f"2 versions start with 'v-' ({', '.join(world.policies)}); give more characters"


def test_the_opponent_is_the_champion_and_for_the_champion_or_without_a_loop_the_base(
    settings: Settings, world: SmallWorld, tmp_path: Path
) -> None:
    names = ModelNames(settings)
    version = names.find(next(iter(world.policies)))
    assert names.opponent(version).name == names.champion.name == "base"
    other = ModelNames(settings)
    second = names.find(list(world.policies)[1])
    other.__dict__["champion"] = second  # as if it had been promoted
    assert other.opponent(version) == second
    assert other.opponent(second).name == "base"
    alone = ModelNames(settings.with_values({"home": tmp_path / "elsewhere"}))
    assert alone.opponent(alone.find("shipped")).ref == alone.find("base").ref == alone.find("champion").ref
    assert not (tmp_path / "elsewhere").exists()  # asking for a name does not begin a log


def test_shipped_and_its_folder_are_the_same_model(settings: Settings) -> None:
    folder = model_ref("shipped").ref
    assert ModelNames(settings).find(folder).ref == ModelNames(settings).find("shipped").ref
    assert ModelNames(settings).find("shipped").is_whole


@pytest.mark.parametrize(
    ("version", "against", "words", "kind"),
    [
        ("v-12", None, "there is no version 'v-12': no loop has run in", ConfigurationError),
        ("./nowhere", None, "./nowhere: there is no such folder", ModelNotFound),
        ("shipped", "./nowhere", "./nowhere: there is no such folder", ModelNotFound),
        ("shipped", None, "no loop has run in .*: name a file of judgments with --data", ConfigurationError),
    ],
)
def test_names_and_data_that_do_not_exist_are_refused_before_a_model_is_loaded(
    settings: Settings, tmp_path: Path, version: str, against: str | None, words: str, kind: type[FeedbackLoopError]
) -> None:
    with pytest.raises(kind, match=words) as refused:
        evaluated(settings, version, against, None, (), tmp_path / "out", print)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_file_without_held_out_judgments_is_refused(settings: Settings, tmp_path: Path) -> None:
    trained = next(each for each in RECORDS if stratum_of(conversation_of((Message(role="user", content=each["prompt"]),))) == "training")
    (tmp_path / "one.jsonl").write_text(json.dumps(trained) + "\n")
    with pytest.raises(DataRefused, match="nothing to evaluate on: 1 judgments and none in the evaluation stratum"):
        evaluated(settings, "shipped", None, tmp_path / "one.jsonl", (), tmp_path / "out", print)


@pytest.mark.training
def test_the_warehouse_is_frozen_with_the_strata_of_its_conversations(settings: Settings, tmp_path: Path) -> None:
    import_records(settings, data_file(tmp_path), "overall", False)
    with evaluation_data(settings, None, ("import",), print) as data:
        assert data.snapshot is not None
        assert len(data.preferences) == 40
        assert {each.stratum for each in data.preferences} == {"training", "evaluation"}
        assert data.sources == ("import",)
    with pytest.raises(DataRefused, match=r"0 judgments .* of the sources product \(--source names others\)"):
        with evaluation_data(settings, None, ("product",), print):
            pass


def test_the_tasks_of_the_simulated_world_are_done_by_the_right_reply_and_by_no_other() -> None:
    tasks = simulated_tasks(20, 0)
    assert len(tasks.prompts) == 20
    assert tasks.prompts == simulated_tasks(20, 0).prompts != simulated_tasks(20, 1).prompts
    rng, records = random.Random("tasks of an evaluation 0"), list[Record]()
    while len(records) < 20:
        record = draw_conversation(rng, "held_out", 1).records[0]
        records += [record] if record.matter in ("booking", "status") else []
    for i, record in enumerate(records):
        slot = next(slot for slot in record.slots if record.asked_day is None or slot.startswith(record.asked_day))
        right = "Hello {name}, your interview as {role} is on {slot}." if record.matter == "booking" else "Your stage is {stage}."
        assert tasks.done(i, fill(right, record, slot))
        assert not tasks.done(i, "Please see the portal.")


def measured(low: float, high: float) -> Interval:
    return Interval(figure=(low + high) / 2, low=low, high=high, n=40)


def report_with_measures(version: str = "v-0123456789ab") -> Report:
    points = [
        Point(
            axis=axis.name, severity=level, model=model, prompts=40, reward=measured(-0.1 * level, 0.1), unsupported=None,
            deflected=measured(0.1 * level, 0.1 * level + 0.1), length=measured(90, 110),
        )
        for axis in AXES
        for level in LEVELS
        for model in ("challenger", "champion")
    ]  # fmt: skip
    policies = [
        PolicyReward(name=name, reward=measured(-1, 1), preferred=measured(0.4, 0.6)) for name in ("random", "SFT", "best of n", "RLHF")
    ]
    found = {
        "policies": PolicyRewards(prompts=40, best_of=4, policies=tuple(policies)).model_dump(mode="json"),
        "robustness": Robustness(points=tuple(points)).model_dump(mode="json"),
    }
    return Report.model_validate_json(orjson.dumps(report_on(version, "4" * 64, "run") | {"measures": found}))


def test_the_text_has_each_figure_with_its_interval_the_verdict_and_says_what_is_simulated() -> None:
    text = as_text(report_with_measures())
    assert "v-0123456789ab against base, on 812 prompts and 186 held-out judgments of 8 recruiters" in text
    assert "0.624 [0.561, 0.687]" in text  # the win rate
    assert "+0.00 [-1.00, +1.00] SD over SFT, preferred to it 0.50 [0.40, 0.60]" in text
    assert "verdict: passed" in text
    assert "some of these judgments are simulated" in text
    assert "weak evidence in dialogue" in text


def test_the_pictures_need_no_network_mark_simulated_data_and_escape_names() -> None:
    report = report_with_measures("<img src=x>")
    policies = PolicyRewards.model_validate(report.measures["policies"])
    robustness = Robustness.model_validate(report.measures["robustness"])
    for page in (policies_html(policies, report), severity_html(robustness, report)):
        assert "simulated data" in page
        assert "<img src=x>" not in page
        assert '<script src="http' not in page
    product = report.model_copy(update={"lineage": report.lineage.model_copy(update={"sources": ("product",)})})
    assert "simulated data" not in policies_html(policies, product)
    shown = severity_html(robustness, report)
    assert "unsupported facts" not in shown  # nothing was measured
    assert "characters" in shown


@pytest.mark.processes
def test_bad_input_ends_the_command_with_code_2_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for words, said in (
        (["v-12"], "no loop has run"),
        (["shipped", "--out", "file"], "--out file: a file; name a folder"),
        (["shipped", "--data", "none.jsonl"], "none.jsonl: there is no such file"),
    ):
        done = feedbackloop(tmp_path, "evaluate", *words)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_names_are_looked_up_without_loading_the_heavy_libraries() -> None:
    program = "import sys, deploy.cli.contenders, deploy.cli.evaluation_data; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
