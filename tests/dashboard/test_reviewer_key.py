"""An approval needs the reviewer's key where one is set; the hub publishes the public keys and says when its own key is missing."""

import hashlib
from pathlib import Path

import pytest

from access.caller import OPEN
from benchmarks.gates.promoted_world import PromotedWorld, reviewer_key
from dashboard.actions.reviews import Conflict, Reviews, check_reviewer_key
from storage.artifacts import Artifacts
from storage.attestation.settings import AttestationSettings
from storage.home import open_home
from storage.warehouse.warehouse import Warehouse
from streams.bus.topics import VERSIONS
from streams.hub import HubStreams
from tests.dashboard.small_world import RunningHub
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus


def test_an_approval_is_refused_while_the_reviewers_key_cannot_be_used(tmp_path: Path) -> None:
    world, bus, key = PromotedWorld(tmp_path), MemoryBus(), tmp_path / "reviewer.pem"
    version = world.evaluate("one").version
    reviews = Reviews(bus, lambda: world.versions, world.artifacts, check_reviewer_key(key))
    with pytest.raises(Conflict, match="cannot be signed for") as caught:
        reviews.decide(OPEN, version, decision="approve", reviewer="Rosa", reason="better")
    assert str(tmp_path) not in str(caught.value)
    assert everything(bus, VERSIONS.name) == []
    reviews.decide(OPEN, version, decision="reject", reviewer="Rosa", reason="a rejection signs nothing")
    reviewer_key(key)
    reviews.decide(OPEN, version, decision="approve", reviewer="Rosa", reason="better")
    assert len(everything(bus, VERSIONS.name)) == 2


def test_the_hubs_public_key_is_published_and_names_its_artifact(hub: RunningHub) -> None:
    answer = hub.client.get("/v1/keys")
    [key] = answer.json()["keys"]
    assert (key["role"], key["type"]) == ("service", "ed25519")
    assert key["keyid"] == hashlib.sha256(key["pem"].encode()).hexdigest()
    assert Artifacts(hub.world.settings.common.artifacts_url).read(key["keyid"]) == key["pem"].encode()
    assert "PRIVATE" not in answer.text


def test_the_hubs_health_says_that_its_key_is_missing(tmp_path: Path) -> None:
    warehouse = Warehouse.open(open_home(tmp_path) / "warehouse.duckdb")
    streams = HubStreams(
        MemoryBus(), warehouse, Artifacts(str(tmp_path / "artifacts")), tmp_path, AttestationSettings(key=tmp_path / "gone.pem")
    )
    try:
        streams.attestor.prepare()
        reason = streams.checks["attestation"]()
        assert reason is not None
        assert reason.startswith("no version can be promoted: signing key")
    finally:
        warehouse.close()
