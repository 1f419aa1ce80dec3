"""API keys on the log: who can make them, and what repeated, removed, forged and late changes do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.change_log import TrustedKeys, folded
from access.changes import AccessChanges
from access.keys import AccessState, KeyText, after
from storage.attestation.keys import Keys, private_pem, public_pem
from storage.attestation.settings import AttestationSettings
from storage.errors import ConfigurationError, FeedbackLoopError, InputRefused
from storage.events import AccessChanged, KeyIssued, KeyRevoked
from storage.home import held
from streams.bus.protocol import Position, Record, records_of
from tests.access.installation import Installation
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def changes_of(installation: Installation) -> list[AccessChanged]:
    return [event for event in installation.audit() if isinstance(event, AccessChanged)]


def valid(state: AccessState, moment: datetime | None = None) -> set[str]:
    return {key.key_id for key in state.keys.values() if key.objection(moment or datetime.now(UTC)) is None}


def trusts(installation: Installation) -> Any:
    return TrustedKeys(installation.keys).have_signed


def test_the_text_of_a_key_is_kept_nowhere(installation: Installation) -> None:
    issued, text = installation.changes.issue("chat", ["feedback", "chat", "chat"])
    parts = KeyText.parsed(text)
    assert parts is not None
    assert (issued.key_id, issued.secret_hash, issued.scopes) == (parts.key_id, parts.hash, ("chat", "feedback"))
    assert parts.secret.encode() not in orjson.dumps([event.model_dump(mode="json") for event in installation.audit()])
    assert not any(parts.secret.encode() in path.read_bytes() for path in installation.home.rglob("*") if path.is_file())
    assert KeyText.parsed(f"{text}x") is None


def test_a_revoked_key_ends_and_a_rotated_one_ends_after_the_overlap(installation: Installation) -> None:
    first, _ = installation.changes.issue("chat", ["chat"], expires_at=datetime.now(UTC) + timedelta(days=30))
    other, _ = installation.changes.issue("loader", ["feedback"], recruiters=["r-1"])
    second, _ = installation.changes.rotate("chat", timedelta(hours=1))
    assert (second.name, second.scopes) == (first.name, first.scopes)
    assert second.expires_at is not None
    assert second.expires_at - second.occurred_at == pytest.approx(timedelta(days=30), abs=timedelta(seconds=5))
    state = installation.changes.state()
    assert valid(state) == {first.key_id, second.key_id, other.key_id}
    assert valid(state, datetime.now(UTC) + timedelta(hours=2)) == {second.key_id, other.key_id}
    assert {key.key_id for key in installation.changes.revoke("chat")} == {first.key_id, second.key_id}
    assert valid(installation.changes.state()) == {other.key_id}
    with pytest.raises(InputRefused, match="no valid key 'chat'"):
        installation.changes.revoke("chat")


def test_a_key_needs_known_scopes_and_a_name_of_its_own(installation: Installation) -> None:
    for scopes in ([], ["chat", "everything"]):
        with pytest.raises(InputRefused, match="choose from chat, feedback, read, admin"):
            installation.changes.issue("chat", scopes)
    installation.changes.issue("chat", ["chat"])
    with pytest.raises(InputRefused, match="rotate it"):
        installation.changes.issue("chat", ["chat"])
    with held(installation.home / "access.lock", "taken"), pytest.raises(ConfigurationError, match="another command"):
        installation.changes.issue("other", ["chat"])


def test_who_can_write_to_the_log_cannot_let_themselves_in(installation: Installation, tmp_path: Path) -> None:
    mine, _ = installation.changes.issue("chat", ["chat"])
    stranger = Installation(tmp_path / "elsewhere", installation.bus)
    theirs, _ = AccessChanges(MemoryBus(), stranger.keys).issue("chat", ["admin"])
    forged: list[AccessChanged] = [
        theirs,
        theirs.model_copy(update={"signed_by": mine.signed_by}),
        theirs.model_copy(update={"serial": 2}),
        mine.model_copy(update={"serial": 2}),
        mine.model_copy(update={"scopes": ("admin",)}),
        mine.model_copy(update={"signature": "ä", "serial": 2}),
        mine.model_copy(update={"signed_by": "0" * 64, "serial": 2}),
    ]
    installation.bus.publish(records_of(forged), timeout=5)
    state = installation.changes.state()
    assert (state.serial, valid(state), state.keys[mine.key_id].scopes) == (1, {mine.key_id}, ("chat",))
    assert len(state.problems) == len(forged)
    installation.changes.issue("next", ["chat"])  # forged entries keep nobody from making another
    assert installation.changes.state().serial == 2


def test_a_reviewers_key_may_not_issue_keys(installation: Installation, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private, path = Ed25519PrivateKey.generate(), tmp_path / "reviewer.pem"
    path.write_bytes(private_pem(private))
    path.chmod(0o600)
    public = tmp_path / "reviewer.pub"
    public.write_bytes(public_pem(private))
    issued, _ = AccessChanges(MemoryBus(), Keys(tmp_path / "x", AttestationSettings(key=path))).issue("chat", ["admin"])
    as_reviewer = TrustedKeys(Keys(tmp_path / "y", AttestationSettings(trusted_reviewers=(public,))))
    as_service = TrustedKeys(Keys(tmp_path / "y", AttestationSettings(trusted=(public,))))
    assert (as_reviewer.have_signed(issued), as_service.have_signed(issued)) == (False, True)


def test_a_repeated_change_changes_nothing_and_after_a_removed_one_older_keys_end(installation: Installation) -> None:
    first, _ = installation.changes.issue("first", ["chat"])
    installation.changes.revoke("first")
    installation.changes.issue("second", ["chat"])
    third, _ = installation.changes.issue("third", ["chat"])
    all_of_them = changes_of(installation)
    again = folded([*all_of_them, all_of_them[0]], trusts(installation))
    assert valid(again) == valid(installation.changes.state())
    assert "serial number has been used" in again.problems[-1]
    without_the_revocation = folded([each for each in all_of_them if not isinstance(each, KeyRevoked)], trusts(installation))
    assert first.key_id not in valid(without_the_revocation)
    assert "changes 2 to 2 are missing" in without_the_revocation.problems[-1]
    assert third.key_id in valid(without_the_revocation)


@given(st.lists(st.tuples(st.sampled_from(["issue", "revoke"]), st.integers(0, 3)), max_size=8), st.data())
def test_no_removed_or_repeated_change_lets_anybody_in(steps: list[tuple[str, int]], data: st.DataObject) -> None:
    """Whatever happens to the entries, a key that is valid was issued, and is not one that the whole log revokes."""
    changes: list[AccessChanged] = []
    for serial, (what, number) in enumerate(steps, 1):
        about: dict[str, Any] = {"source": "product", "serial": serial, "signed_by": "0" * 64, "signature": "", "key_id": f"k{number}"}
        if what == "issue" and not any(isinstance(each, KeyIssued) and each.key_id == f"k{number}" for each in changes):
            changes.append(KeyIssued(**about, name="n", secret_hash="0" * 64, scopes=("chat",)))
        else:
            changes.append(KeyRevoked(**about, ends_at=datetime(2020, 1, 1, tzinfo=UTC)))
    whole = folded(changes, lambda change: True)
    kept = data.draw(st.lists(st.sampled_from(changes), max_size=12)) if changes else []
    seen = sorted(kept, key=lambda change: change.serial) if data.draw(st.booleans()) else kept
    if seen and seen[-1].serial == len(changes):  # a cut tail does not show
        assert valid(folded(seen, lambda change: True)) <= valid(whole)


def test_a_change_that_an_earlier_one_overtakes_is_reported_as_failed(installation: Installation) -> None:
    class Late(MemoryBus):
        """A log to which an attempt that timed out gets through just before the next one."""

        late: ClassVar[list[Record]] = []

        def publish(self, records: Any, *, timeout: float) -> list[Position]:
            super().publish(self.late, timeout=timeout)
            type(self).late = []
            return super().publish(records, timeout=timeout)

    bus = Late()
    changes = AccessChanges(bus, installation.keys)
    changes.issue("one", ["chat"])
    elsewhere = MemoryBus()
    elsewhere.publish([Record("access", b"", entry.value) for entry in everything(bus, "access")], timeout=1)
    lost, _ = AccessChanges(elsewhere, installation.keys).issue("lost", ["chat"])
    Late.late = records_of([lost])
    with pytest.raises(FeedbackLoopError, match="did not take effect"):
        changes.revoke("one")
    changes.revoke("one")
    assert valid(changes.state()) == {lost.key_id}


def test_scopes_of_a_later_program_permit_nothing() -> None:
    change = KeyIssued(
        source="product", serial=1, signed_by="0" * 64, signature="", key_id="k", name="n", secret_hash="0" * 64, scopes=("chat", "judge")
    )
    [key] = after(AccessState(), change, lambda _: True).keys.values()
    assert key.caller.permissions == {"chat"}
