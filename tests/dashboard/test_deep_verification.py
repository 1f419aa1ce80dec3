"""``verify --deep`` finds what is not signed as it says, and a file that is not the one whose hash is on the log."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from access.changes import AccessChanges
from dashboard.actions.deep_verification import deep_findings
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.events import KeyRevoked, ModelPromoted, RewardUpdated, derived_id, now
from storage.files import file_hash
from tests.dashboard.small_world import running_hub, wait_until
from tests.dashboard.test_duel import WINS, approve, awaiting, until
from tests.streams.test_derived import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    opened = Home(tmp_path)
    with opened.warehouse:
        yield opened


def found(home: Home) -> list[tuple[str, str, str]]:
    return [(each.what, each.where, each.words) for each in deep_findings(home.bus, home.warehouse, home.artifacts, home.settings)]


def test_a_checkpoint_is_the_file_whose_hash_its_update_names(home: Home) -> None:
    [(what, where, words)] = found(home)  # this home's updates name no file
    assert (what, words) == ("state", "it is not the file whose hash the update names")
    assert where.endswith("/head.safetensors")
    last = max((each for each in home.warehouse.events(RewardUpdated) if isinstance(each, RewardUpdated)), key=lambda each: each.sequence)
    update = {"event_id": derived_id("named", 1), "checkpoint": file_hash(home.head_file)}
    home.publish(last.model_copy(update=update))
    assert found(home) == []


def test_a_change_of_access_that_nobody_signed_is_found(home: Home) -> None:
    AccessChanges(home.bus, Keys(home.folder, AttestationSettings())).issue("product", ["read"])
    before = found(home)
    forged = KeyRevoked(source="product", serial=2, signed_by="0" * 64, signature="", key_id="0123456789ab", ends_at=now())
    home.publish(forged)
    [(what, where, words)] = [each for each in found(home) if each not in before]
    assert (what, where) == ("signature", "access")
    assert "not signed by a trusted key" in words


def test_a_promotion_whose_signing_key_is_not_trusted_any_more_is_found(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        version = awaiting(hub, "to be verified")
        approve(hub, version)
        hub.world.duel(version, WINS)
        until(hub, version, "champion")
        assert "signature" not in hub.get("/v1/verify", deep=True)
        replace_the_service_key(tmp_path)
        findings = wait_until(lambda: hub.get("/v1/verify", deep=True).get("signature", []), bool)
        assert any(f"record of {version}" in each and "not trusted" in each for each in findings)
        assert "signature" not in hub.get("/v1/verify")
        [promoted] = hub.hub.warehouse.events(ModelPromoted)
        assert any(str(promoted.event_id) in each for each in findings)


def replace_the_service_key(home: Path) -> None:
    """The home gets another service key, and forgets the old one."""
    for file in (home / "keys").glob("service*"):
        file.unlink()
    Keys(home, AttestationSettings()).generate()
