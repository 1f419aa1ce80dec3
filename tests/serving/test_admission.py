"""Serving installs a promoted version only with a valid record of its promotion, and goes on with the champion before it otherwise."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from benchmarks.gates.promoted_world import BASE_HASH, PromotedWorld, reviewer_key
from serving import promotion as following
from serving.promotion import Promotions
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.errors import AttestationError, Overloaded
from storage.events import ModelPromoted, ModelRolledBack
from streams.attestation.admission import Admission
from streams.bus.protocol import records_of
from streams.bus.sqlite import SQLiteBus


@pytest.fixture
def world(tmp_path: Path) -> PromotedWorld:
    return PromotedWorld(tmp_path)


def admission(world: PromotedWorld, settings: AttestationSettings | None = None, base: str | None = BASE_HASH) -> Admission:
    return Admission(world.artifacts, Keys(world.home, settings or world.settings), lambda: base)


@contextmanager
def serving(
    world: PromotedWorld, bus: SQLiteBus, base: str | None = BASE_HASH, stand_by: Callable[[str, Path | None], bool] = lambda *_: False
) -> Iterator[tuple[list[str], list[str]]]:
    """Follow the champion; yields the versions installed and the reasons explained."""
    installed: list[str] = []
    explained: list[str] = []
    promotions = Promotions(
        bus,
        world.artifacts,
        install=lambda name, adapter: installed.append(name),
        install_challenger=lambda challenger, adapter: None,
        explain=explained.append,
        give_up=lambda error: None,
        memory=world.home / "serving" / "champion.json",
        admission=admission(world, base=base),
        stand_by=stand_by,
    )
    promotions.start()
    try:
        yield installed, explained
    finally:
        promotions.stop()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline, tick = time.monotonic() + 20, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        tick.wait(0.02)


def test_a_champion_with_a_valid_record_is_served(world: PromotedWorld, tmp_path: Path) -> None:
    promoted = world.grow("one")
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish(records_of(world.events), timeout=5)
        with serving(world, bus) as (installed, _):
            wait_for(lambda: bool(installed))
            assert installed == [promoted.version]
            wait_for((world.home / "serving" / "champion.json").exists)
    assert orjson.loads((world.home / "serving" / "champion.json").read_bytes())[2] == promoted.record


def test_without_its_record_the_champion_before_serves_until_the_record_is_there(
    world: PromotedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "RETRY_INTERVAL", 0.1)
    monkeypatch.setattr(following, "POLL_TIMEOUT", 0.1)
    first, second = world.grow("one"), world.grow("two")
    assert second.record is not None
    raw, path = world.record(second), world.artifacts.get(second.record)
    path.unlink()
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish(records_of(world.events), timeout=5)
        with serving(world, bus) as (installed, _):
            wait_for(lambda: bool(installed))
            assert installed == [first.version]
            assert "its promotion has no valid record" in caplog.text
            world.artifacts.put_bytes(raw)
            wait_for(lambda: installed == [first.version, second.version])


def test_a_rollback_installs_the_champion_before_that_was_verified_and_loaded_in_advance(world: PromotedWorld, tmp_path: Path) -> None:
    first, second = world.grow("one"), world.grow("two")
    policy = world.versions.versions[first.version].evaluated.policy
    prepared: list[tuple[str, Path | None]] = []

    def stand_by(name: str, adapter: Path | None) -> bool:
        prepared.append((name, adapter))
        return True

    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish(records_of(world.events), timeout=5)
        with serving(world, bus, stand_by=stand_by) as (installed, _):
            wait_for(lambda: bool(prepared))
            assert (installed, prepared) == ([second.version], [(first.version, world.artifacts.get(policy))])
            shutil.rmtree(world.artifacts.get(policy))  # not needed again: what is loaded was verified
            bus.publish(records_of([ModelRolledBack(source="product", version=second.version, reviewer="Rosa", reason="worse")]), timeout=5)
            wait_for(lambda: len(prepared) == 2)
            assert installed == [second.version, first.version]
            assert prepared[1] == ("base", None)


def test_an_invalid_champion_before_does_not_stand_by(world: PromotedWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = world.grow("one"), world.grow("two")
    assert first.record is not None
    world.artifacts.get(first.record).unlink()
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish(records_of(world.events), timeout=5)
        with serving(world, bus, stand_by=lambda name, adapter: pytest.fail(f"{name} was loaded")) as (installed, _):
            wait_for(lambda: "a rollback to" in caplog.text)
            assert installed == [second.version]
            bus.publish(records_of([ModelRolledBack(source="product", version=second.version, reviewer="Rosa", reason="worse")]), timeout=5)
            wait_for(lambda: len(installed) == 2)
    assert installed == [second.version, "base"]


def test_with_another_base_model_on_disk_the_adapter_is_refused_and_the_base_serves(
    world: PromotedWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.grow("one")
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        bus.publish(records_of(world.events), timeout=5)
        with serving(world, bus, base="c" * 64) as (installed, _):
            wait_for(lambda: bool(installed))
            assert installed == ["base"]
    assert "the base model's files changed" in caplog.text


def refused(world: PromotedWorld, promoted: ModelPromoted, **options: object) -> str:
    with pytest.raises(AttestationError) as caught:
        admission(world, **options).admit(promoted.version, world.versions)  # type: ignore[arg-type]
    return str(caught.value)


def test_an_untrusted_key_is_refused(world: PromotedWorld, tmp_path: Path) -> None:
    promoted = world.grow("one")
    other = AttestationSettings(key=reviewer_key(tmp_path / "other.pem"))
    assert "is not trusted" in refused(world, promoted, settings=other)


def test_a_record_of_another_promotion_is_refused(world: PromotedWorld) -> None:
    first, second = world.grow("one"), world.grow("two")
    world.events[-1] = second.model_copy(update={"record": first.record})
    reason = refused(world, second)
    assert "another adapter than the log" in reason
    assert "another previous record than the log" in reason


def test_a_signature_that_does_not_fit_is_refused(world: PromotedWorld) -> None:
    from storage.attestation.statement import canonical

    first, second = world.grow("one"), world.grow("two")
    envelope = orjson.loads(world.record(second))
    envelope["signatures"][0]["sig"] = orjson.loads(world.record(first))["signatures"][0]["sig"]
    forged = second.model_copy(update={"record": world.artifacts.put_bytes(canonical(envelope))})
    world.events[-1] = forged
    assert "does not belong to this statement" in refused(world, forged)


def test_promotions_from_before_there_were_records_are_served_but_not_after_the_first_record(world: PromotedWorld) -> None:
    old = world.grow("old")
    world.events[-1] = old.model_copy(update={"record": None})
    admission(world).admit(old.version, world.versions)
    attested = world.grow("new")
    admission(world).admit(attested.version, world.versions)
    assert world.statement(attested).evidence.previous is None
    forged = world.grow("forged")
    world.events[-1] = forged.model_copy(update={"record": None})
    assert "names no record" in refused(world, forged)


def test_without_required_an_invalid_record_is_served_with_a_warning(world: PromotedWorld, caplog: pytest.LogCaptureFixture) -> None:
    promoted = world.grow("one")
    assert promoted.record is not None
    world.artifacts.get(promoted.record).unlink()
    admission(world, AttestationSettings(required=False)).admit(promoted.version, world.versions)
    assert "serving without a valid record" in caplog.text


def test_while_the_log_is_down_the_remembered_champion_needs_its_record(world: PromotedWorld) -> None:
    first, second = world.grow("one"), world.grow("two")
    policies = {name: version.evaluated.policy for name, version in world.versions.versions.items()}
    admission(world).remembered(second.version, policies[second.version], second.record)
    with pytest.raises(AttestationError, match="another adapter"):
        admission(world).remembered(second.version, policies[first.version], second.record)


class Away(SQLiteBus):
    def bounds(self, topics: object) -> object:  # type: ignore[override]
        raise Overloaded("Kafka does not answer; try again")


def test_a_remembered_champion_without_a_valid_record_does_not_serve(world: PromotedWorld, tmp_path: Path) -> None:
    promoted = world.grow("one")
    memory = world.home / "serving" / "champion.json"
    memory.parent.mkdir()
    memory.write_bytes(orjson.dumps((promoted.version, "0" * 64, promoted.record)))
    with Away(tmp_path / "away.sqlite") as bus, serving(world, bus) as (installed, explained):
        wait_for(lambda: bool(explained))
    assert installed == []
    assert "another adapter" in explained[0]


def test_serving_does_not_load_the_model_signing_library() -> None:
    """It imports sigstore, which takes seconds; only promotions and ``attest verify`` need it."""
    code = "import sys, serving.app, streams.attestation.admission; sys.exit('model_signing' in sys.modules or 'sigstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
