"""Promotion records: what is signed, that it is the same after a restart, and what happens without keys or with two approvals at once."""

import stat
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.gates.promoted_world import BASE_HASH, PromotedWorld, kl_of, reviewer_key
from storage.attestation.keys import Keys, read_private
from storage.attestation.settings import AttestationSettings
from storage.attestation.statement import canonical
from storage.errors import AttestationError
from streams import runs
from streams.attestation.attestor import Attestor, base_name
from streams.attestation.verify import verify
from streams.versions import promotions


@pytest.fixture
def world(tmp_path: Path) -> PromotedWorld:
    return PromotedWorld(tmp_path, AttestationSettings(reviewer_key=reviewer_key(tmp_path / "reviewer.pem")))


def failures(world: PromotedWorld, raw: bytes, base: str | None = BASE_HASH) -> list[str]:
    return [f"{check.what}: {check.words}" for check in verify(raw, world.artifacts, world.attestor.keys.trusted(), base).failures]


def test_a_promotion_is_an_in_toto_statement_signed_by_service_and_reviewer(world: PromotedWorld) -> None:
    promoted = world.grow("one")
    envelope = orjson.loads(world.record(promoted))
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    assert len(envelope["signatures"]) == 2
    statement = world.statement(promoted)
    assert statement.type == "https://in-toto.io/Statement/v1"
    assert statement.predicate_type == "https://in-toto.io/attestation/svr/v0.1"
    assert {subject.name for subject in statement.subject} == {"adapter", "base", "snapshot", "report", "settings", "code"}
    evidence = statement.evidence
    assert statement.predicate.time_created == promoted.occurred_at
    assert statement.predicate.properties == ("FEEDBACKLOOP_GATE_KL_BUDGET", "FEEDBACKLOOP_REVIEW_APPROVED")
    assert (evidence.gates[0].figure, evidence.gates[0].low, evidence.gates[0].high, evidence.gates[0].n) == (1.5, 1.4, 1.6, 224)
    assert [signer.role for signer in evidence.signers] == ["service", "reviewer"]
    assert failures(world, world.record(promoted)) == []


def test_the_library_of_the_specification_verifies_envelope_and_statement(world: PromotedWorld) -> None:
    """securesystemslib and in-toto-attestation read the record without our code."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer._key import SSlibKey

    json_format: Any = import_module("google.protobuf.json_format")
    reference: Any = import_module("in_toto_attestation.v1.statement")
    message: Any = import_module("in_toto_attestation.v1.statement_pb2").Statement()
    envelope = Envelope.from_dict(orjson.loads(world.record(world.grow("one"))))
    keys: list[Any] = [SSlibKey.from_crypto(load_pem_public_key(key.pem), keyid=key.keyid) for key in world.attestor.keys.published()]
    assert len(envelope.verify(keys, 2)) == 2
    reference.Statement.copy_from_pb(json_format.Parse(envelope.payload, message)).validate()


def test_records_are_chained_and_the_first_names_none(world: PromotedWorld) -> None:
    first, second, third = world.grow("one"), world.grow("two"), world.grow("three")
    assert world.statement(first).evidence.previous is None
    assert world.statement(second).evidence.previous == first.record
    assert world.statement(third).evidence.previous == second.record
    [chain] = [
        check for check in verify(world.record(third), world.artifacts, world.attestor.keys.trusted()).checks if check.what == "chain"
    ]
    assert (chain.outcome, chain.words) == ("passed", f"2 records before this one, the first is about {first.version}")


def test_a_broken_link_is_named(world: PromotedWorld) -> None:
    first, second = world.grow("one"), world.grow("two")
    third = world.grow("three")
    assert first.record is not None
    stored = world.artifacts.get(first.record)
    stored.unlink()
    assert any(f"record {first.record[:12]}" in words and "it is not there" in words for words in failures(world, world.record(third)))
    assert failures(world, world.record(second)) != []


def test_a_hub_killed_between_record_and_event_makes_the_same_record_again(world: PromotedWorld) -> None:
    world.approve("one")
    versions = world.versions

    def restarted() -> str | None:
        attestor = Attestor(world.artifacts, world.home, world.settings)
        attestor.prepare()
        promoted = attestor.next_promotion(promotions(versions), versions, runs.fold(world.events))
        assert promoted is not None
        return promoted.record

    assert restarted() is not None
    assert restarted() == restarted()


def test_of_two_versions_approved_at_once_one_is_promoted_and_the_other_is_stale(world: PromotedWorld) -> None:
    world.approve("one")
    world.approve("two")
    first = world.promote()
    assert first is not None
    assert world.promote() is None
    assert world.attestor.problem is None
    assert world.versions.champions == ("base", first.version)


def test_an_approval_twice_makes_one_record(world: PromotedWorld) -> None:
    review = world.approve("one")
    world.events.append(review.model_copy(update={"event_id": world.run_of(review.version)}))
    promoted = world.promote()
    assert promoted is not None
    assert promoted.review == review.event_id
    world.events.append(promoted)  # published again
    assert world.promote() is None
    assert len(world.versions.promoted) == 1


def test_without_its_key_the_hub_promotes_nothing_and_says_so_until_the_key_is_back(world: PromotedWorld) -> None:
    world.approve("one")
    key = world.attestor.keys.service
    kept = key.read_bytes()
    key.unlink()
    assert world.promote() is None
    assert world.attestor.problem is not None
    assert "is approved and cannot be promoted" in world.attestor.problem
    assert str(key) in world.attestor.problem
    [version] = world.versions.versions.values()
    assert version.status == "approved"
    restarted = Attestor(world.artifacts, world.home, world.settings)
    restarted.prepare()
    assert not key.exists(), "a key that was removed is not replaced by another"
    assert restarted.problem is not None
    key.touch(0o600)
    key.write_bytes(kept)
    assert world.promote() is not None
    assert world.attestor.problem is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_signs_nothing(world: PromotedWorld, mode: int) -> None:
    world.attestor.keys.service.chmod(mode)
    with pytest.raises(AttestationError, match="chmod 600"):
        world.attestor.keys.signing()


def test_a_file_that_is_not_a_key_is_refused_without_quoting_it(world: PromotedWorld) -> None:
    path = world.home / "other.pem"
    path.touch(0o600)
    path.write_text("secret words")
    with pytest.raises(AttestationError) as caught:
        read_private(path)
    assert "secret" not in str(caught.value)
    with pytest.raises(AttestationError, match="not an Ed25519 key"):
        Keys(world.home, AttestationSettings(key=world.attestor.keys.model)).signing()


def test_keys_are_generated_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    keys = Keys(tmp_path, AttestationSettings())
    keys.generate()
    written = {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    assert written.keys() == {"service.pem", "service.pem.pub", "model.pem", "model.pem.pub"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "keys").iterdir())
    keys.generate()
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "keys").iterdir()}
    [signing] = keys.signing()
    assert "PRIVATE" not in repr(signing)


def test_no_private_key_is_in_an_artifact_or_a_record(world: PromotedWorld) -> None:
    world.grow("one")
    stored = [path.read_bytes() for path in (world.home / "artifacts").rglob("*") if path.is_file()]
    assert any(b"PUBLIC KEY" in data for data in stored)
    assert not any(b"PRIVATE KEY" in data for data in stored)


def test_after_a_rotation_old_records_verify_with_the_old_public_key(world: PromotedWorld) -> None:
    first = world.grow("one")
    old = world.home / "keys" / "service.pem.pub"
    new = reviewer_key(world.home / "new.pem")
    rotated = AttestationSettings(key=new, reviewer_key=world.settings.reviewer_key)
    world.attestor = Attestor(world.artifacts, world.home, rotated)
    assert any("not trusted" in words for words in failures(world, world.record(first)))
    world.approve("two")
    assert world.promote() is None, "the chain cannot be verified"
    world.attestor = Attestor(world.artifacts, world.home, rotated.model_copy(update={"trusted": (old,)}))
    second = world.promote()
    assert second is not None
    assert failures(world, world.record(second)) == []


def test_a_reviewers_key_cannot_sign_as_the_service(world: PromotedWorld) -> None:
    promoted = world.grow("one")
    keys = {key.keyid: key for key in world.attestor.keys.trusted().values() if key.role == "reviewer"}
    [reviewer] = keys
    service = next(signer.keyid for signer in world.statement(promoted).evidence.signers if signer.role == "service")
    swapped = {**keys, service: type(keys[reviewer])("reviewer", world.attestor.keys.trusted()[service].pem)}
    found = verify(world.record(promoted), world.artifacts, swapped)
    assert any("trusted as a reviewer's only" in check.words for check in found.failures)


def test_a_record_without_one_of_its_signatures_is_refused(world: PromotedWorld) -> None:
    envelope = orjson.loads(world.record(world.grow("one")))
    envelope["signatures"].pop()
    assert any("it is missing" in words for words in failures(world, canonical(envelope)))


@pytest.mark.parametrize("what", ["adapter", "snapshot", "report", "settings", "code"])
def test_a_changed_byte_in_an_artifact_is_named(world: PromotedWorld, what: Any) -> None:
    promoted = world.grow("one")
    sha = world.statement(promoted).digest(what)
    assert sha is not None
    path = world.artifacts.get(sha)
    file = max(path.iterdir()) if path.is_dir() else path
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert any(words.startswith(f"{what}: artifact {sha}") for words in failures(world, world.record(promoted)))


def test_another_base_model_is_named_and_one_without_a_hash_is_said(world: PromotedWorld, tmp_path: Path) -> None:
    promoted = world.grow("one")
    assert failures(world, world.record(promoted), base="c" * 64)[0].startswith("base: the base model's files changed")
    by_id = PromotedWorld(tmp_path / "by-id", base_hash=None)
    found = verify(by_id.record(by_id.grow("one")), by_id.artifacts, by_id.attestor.keys.trusted(), "c" * 64)
    assert found.ok
    assert next(check for check in found.checks if check.what == "base").outcome == "not checked"


def test_a_pass_that_its_own_finding_does_not_give_is_not_promoted(world: PromotedWorld) -> None:
    """Report, event and record agree that the gate passed, but the finding in the report is over the budget."""
    world.approve("one", finding=kl_of(9.0))
    assert world.promote() is None
    assert world.attestor.problem is not None
    assert "gate kl_budget applied again: the finding gives failed" in world.attestor.problem


def test_without_required_a_promotion_goes_on_unattested_and_the_log_says_so(tmp_path: Path) -> None:
    world = PromotedWorld(tmp_path, AttestationSettings(required=False))
    world.attestor.keys.service.unlink()
    assert world.grow("one").record is None
    assert world.attestor.problem is not None


def test_a_base_models_path_stays_out_of_the_record() -> None:
    assert base_name("/srv/models/llama") == "llama"
    assert base_name("org/model") == "org/model"
