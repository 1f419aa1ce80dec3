"""``train`` and ``evaluate`` report what they read and refused, in the same format for every phase."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.records import import_records
from deploy.cli.training import _progress, evaluate_model, train_phase
from storage.errors import DataRefused
from storage.events import Message, Sampling
from storage.settings import Settings
from storage.strata import conversation_of, stratum_of
from streams.bus.open import bus_of
from streams.intake import Intake
from tests.trainers.conftest import tiny_model  # noqa: F401
from trainers.data.records import read_preferences

pytestmark = pytest.mark.training

Run = Callable[[Path, Callable[[str], None]], object]


@pytest.fixture
def settings(tmp_path: Path, tiny_model: Path) -> Settings:  # noqa: F811
    return Settings.read(tmp_path, {}).with_values(
        common={"model": str(tiny_model), "home": tmp_path / "home"},
        dpo={"least_rows": 8, "batch": 16, "epochs": 1},
        evaluation={"max_tokens": 4, "names": 2, "kl_prompts": 2, "audit_pairs": 4, "audit_pairs_max": 4},
    )


@pytest.fixture(params=["reward", "dpo", "evaluate"])
def command(request: pytest.FixtureRequest, settings: Settings, tmp_path: Path) -> Run:
    """What the command line calls, as a function of the data file and a print function."""

    def run(data: Path, say: Callable[[str], None]) -> object:
        if request.param == "evaluate":
            return evaluate_model(settings, data, settings.common.model, None, tmp_path / "out", say)
        return train_phase(settings, request.param, data, None, tmp_path / "out", (), say)

    return run


def records(n: int) -> list[str]:
    return [
        json.dumps({"prompt": f"Question {i}?", "chosen": f"On day {i}, dear candidate.", "rejected": f"Some day {i}."}) for i in range(n)
    ]


def test_refused_lines_and_the_split_are_reported_before_training(tmp_path: Path, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "records.jsonl"
    data.write_text("\n".join([*records(60), *["nothing"] * 30]))
    held_out = sum(c.stratum == "evaluation" for c in read_preferences(data).preferences)
    said: list[str] = []
    command(data, said.append)
    split = f"{60 - held_out} for training, {held_out} held out for evaluation"
    assert said[0] == f"60 records in the form of prompt, chosen and rejected, 30 refused; {split}"
    refused = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("line ", "and "))]
    assert [line.partition(":")[0] for line in refused] == [*(f"line {n}" for n in range(61, 81)), "and 10 more"]


def test_a_file_without_one_record_is_refused_with_the_reasons_and_a_hint(tmp_path: Path, command: Run) -> None:
    data = tmp_path / "records.jsonl"
    data.write_text("\n".join(json.dumps(json.loads(record), indent=2) for record in records(60)))
    with pytest.raises(DataRefused) as refused:
        command(data, print)
    assert "no preference record in 300 lines\nline 1: not JSON" in str(refused.value)
    assert "\nand 280 more\nhint: the file is JSON over several lines" in str(refused.value)


def test_a_reward_model_of_the_warehouse_has_an_absolute_term_from_its_ratings(
    tmp_path: Path,
    settings: Settings,
    tiny_encoder: dict[str, Path],
) -> None:
    data = tmp_path / "records.jsonl"
    data.write_text("\n".join(records(60)))
    of_home = settings.with_values(features=tiny_encoder, hub={"port": 1})
    import_records(of_home, data, "overall", count=False)
    prompts = [(Message(role="user", content=f"Question {i}?"),) for i in range(60)]
    with closing(bus_of(of_home)) as bus:
        intake = Intake(bus, b"key")
        for i, prompt in enumerate(prompts[:50]):
            about: dict[str, Any] = {"conversation_id": f"c-{i}", "source": "product"}
            sent = intake.reply(prompt=prompt, reply=f"On day {i}, dear candidate.", version="base", sampling=Sampling(), **about)
            intake.rating(recruiter="Ana", thumb="up" if i % 5 else "down", reply_id=sent.event_id, **about)
        pair = intake.pair(
            conversation_id="c-59", prompt=prompts[59], a={"text": "Some day.", "version": "x"}, b={"text": "Never.", "version": "x"}
        )
        intake.judgment(pair_id=pair.pair_id, recruiter="Ana", choice="neither")
    found, text = train_phase(of_home, "reward", None, None, tmp_path / "out", (), print)
    training = [stratum_of(conversation_of(prompt)) == "training" for prompt in prompts]
    assert found["absolute"]["ratings"] == sum(training[:50]) + 2 * training[59]
    assert found["absolute"]["good"] == sum(training[i] for i in range(50) if i % 5)
    assert "; not in use as a floor: 100 ratings of the training stratum are needed" in text
    assert (tmp_path / "out" / "reward" / "absolute.json").is_file()


def test_sft_imitates_the_rewrites_in_the_warehouse(tmp_path: Path, settings: Settings, tiny_encoder: dict[str, Path]) -> None:
    of_home = settings.with_values(features=tiny_encoder, hub={"port": 1}, sft={"least_rows": 8, "epochs": 1})
    prompts = [(Message(role="user", content=f"Question {i}?"),) for i in range(30)]
    with closing(bus_of(of_home)) as bus:
        intake = Intake(bus, b"key")
        for i, prompt in enumerate(prompts):
            intake.edit(
                conversation_id=f"c-{i}", prompt=prompt, original={"text": f"Some day {i}.", "version": "base"},
                edited=f"On day {i}, dear candidate.", recruiter="Ana",
            )  # fmt: skip
    training = sum(stratum_of(conversation_of(prompt)) == "training" for prompt in prompts)
    found, _ = train_phase(of_home, "sft", None, None, tmp_path / "out", (), print)
    assert found["rows"] == training
    manifest = json.loads((tmp_path / "out" / "policy" / "training.json").read_text())
    assert manifest["sources"]["product"] >= training


def test_a_trained_policy_names_its_rows_and_what_was_left_out(tmp_path: Path, settings: Settings) -> None:
    data = tmp_path / "records.jsonl"
    data.write_text("\n".join([*records(40), *["nothing"] * 7]))
    held_out = sum(c.stratum == "evaluation" for c in read_preferences(data).preferences)
    found, text = train_phase(settings, "dpo", data, None, tmp_path / "out", (), print)
    assert (found["rows"], found["held_out"], found["refused"]) == (40 - held_out, held_out, 7)
    assert "held_out" in text


def test_progress_is_said_each_quarter_with_the_time_left_at_the_pace_so_far() -> None:
    said: list[str] = []
    now = [0.0]
    report = _progress(said.append, lambda: now[0])
    for step in range(9):
        report("train", step, 8, {"loss": 0.5} if step else {})
        now[0] += 60
    assert said == [
        "train: 0 of 8",
        "train: 2 of 8, 6 min left  loss 0.5",
        "train: 4 of 8, 4 min left  loss 0.5",
        "train: 6 of 8, 2 min left  loss 0.5",
        "train: 8 of 8  loss 0.5",
    ]
