"""``attest`` and ``audit model`` through the command line, on a home whose promotions were made by the real attestor."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner, Result

from benchmarks.gates.promoted_world import PromotedWorld
from benchmarks.gates.proof import tamper
from deploy.cli.main import app
from storage.attestation.settings import AttestationSettings
from streams.bus.protocol import records_of
from streams.bus.sqlite import SQLiteBus


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PromotedWorld:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDBACKLOOP_HOME", str(tmp_path / "home"))
    built = PromotedWorld(tmp_path / "home", AttestationSettings())
    built.grow("one")
    built.grow("two")
    with SQLiteBus(tmp_path / "home" / "bus.sqlite") as bus:
        bus.publish(records_of(built.events), timeout=5)
    return built


def run(*words: str | Sequence[str]) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_valid_record_is_verified_from_its_file_with_a_store_and_a_public_key(world: PromotedWorld, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(world.record(world.versions.promoted[-1]))
    store, key = str(world.home / "artifacts"), str(world.home / "keys" / "service.pem.pub")
    done = run("attest", "verify", "record.json", "--artifacts", store, "--keys", key, "--json", "found.json")
    assert done.exit_code == 0, done.output
    assert "the record is valid" in done.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["valid"] is True
    assert {check["outcome"] for check in found["checks"]} == {"passed", "not checked"}


def test_a_changed_record_ends_with_code_1_and_names_what_fails(world: PromotedWorld, tmp_path: Path) -> None:
    promoted = world.versions.promoted[-1]
    (tmp_path / "record.json").write_bytes(world.record(promoted).replace(b'"sig":"', b'"sig":"A', 1))
    store = str(world.home / "artifacts")
    done = run("attest", "verify", "record.json", "--artifacts", store)
    assert done.exit_code == 1
    assert "FAIL envelope" in done.output
    path = world.artifacts.get(world.statement(promoted).digest("report") or "")
    path.write_bytes(path.read_bytes() + b" ")
    done = run("attest", "verify", str(promoted.record), "--artifacts", store)
    assert done.exit_code == 1
    assert "FAIL report" in done.output


def test_another_key_is_not_trusted(world: PromotedWorld, tmp_path: Path) -> None:
    other = PromotedWorld(tmp_path / "other")
    key = str(other.home / "keys" / "service.pem.pub")
    done = run("attest", "verify", str(world.versions.promoted[0].record), "--artifacts", str(world.home / "artifacts"), "--keys", key)
    assert done.exit_code == 1
    assert "the key is not trusted" in done.output


def test_show_prints_gates_with_their_figures_and_the_chain(world: PromotedWorld) -> None:
    first, second = world.versions.promoted
    done = run("attest", "show", str(second.record))
    assert done.exit_code == 0, done.output
    assert "kl_budget: passed, 1.5 [1.4, 1.6] nats, n = 224" in done.output
    assert str(first.record) in done.output


def test_audit_model_writes_lineage_gates_record_and_a_model_card(world: PromotedWorld, tmp_path: Path) -> None:
    promoted = world.versions.promoted[-1]
    done = run("audit", "model", promoted.version, "--out", "audit")
    assert done.exit_code == 0, done.output
    with (tmp_path / "audit" / "lineage.csv").open(newline="", encoding="utf-8") as file:
        rows = dict(list(csv.reader(file))[1:])
    assert rows["record"] == promoted.record
    assert rows["verification of the record"] == "valid"
    assert rows["judged against"] == world.versions.promoted[0].version
    with (tmp_path / "audit" / "gates.csv").open(newline="", encoding="utf-8") as file:
        [gate] = csv.DictReader(file)
    assert (gate["gate"], gate["verdict"], float(gate["figure"])) == ("kl_budget", "passed", 1.5)
    card = ModelCard.load(tmp_path / "audit" / "README.md")
    [result] = card.data.eval_results or []
    assert (result.metric_type, result.metric_value, card.data.model_name) == ("kl_budget", 1.5, promoted.version)
    page = (tmp_path / "audit" / "model.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "Rosa" in page
    before = {path.name: path.read_bytes() for path in (tmp_path / "audit").iterdir()}
    assert run("audit", "model", promoted.version, "--out", "audit").exit_code == 0
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "audit").iterdir()}


def test_an_unknown_version_is_named(world: PromotedWorld) -> None:
    done = run("audit", "model", "v-unknown", "--out", "audit")
    assert done.exit_code != 0
    assert "there is no version 'v-unknown'" in str(done.exception)


def test_of_forty_random_flips_every_one_is_found(tmp_path: Path) -> None:
    tried, found = tamper(tmp_path, 40, seed=1)
    assert sum(tried.values()) == 40
    assert tried == found
