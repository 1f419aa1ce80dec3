"""Required mode: each request needs a key, and what goes wrong with keys lets nobody in."""

import base64
import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from access.change_log import TrustedKeys
from access.control import AccessControl
from access.own import OwnToken
from storage.attestation.keys import SERVICE, Keys, PublicKey
from storage.attestation.settings import AttestationSettings
from storage.errors import AttestationError, ConfigurationError, Overloaded
from storage.events import RequestsRefused
from storage.settings import Settings
from streams.bus.protocol import Position, Record
from tests.access.installation import Installation, bearer, until
from tests.serving.conftest import run_app
from tests.streams.memory_bus import MemoryBus

PERMISSIONS = ("chat", "feedback", "read", "export", "review", "admin")


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


HERE = {"Host": "127.0.0.1"}  # TestClient sends another one with a channel


def refusal(client: TestClient, path: str, headers: dict[str, str]) -> tuple[int, str]:
    answer = client.get(path, headers=headers)
    return answer.status_code, answer.json()["error"]["code"]


def permitted(client: TestClient, headers: dict[str, str]) -> set[str]:
    found = {each: client.get(f"/v1/{each}", headers=headers).status_code for each in PERMISSIONS}
    assert set(found.values()) <= {200, 403}
    return {each for each, status in found.items() if status == 200}


def test_a_key_permits_what_its_scopes_say(installation: Installation) -> None:
    keys = {scope: installation.key(scope, name=scope) for scope in ("chat", "feedback", "read", "admin")}
    both = installation.key("chat", "feedback", name="both")
    with installation.running() as client:
        assert permitted(client, keys["chat"]) == {"chat"}
        assert permitted(client, keys["feedback"]) == {"feedback"}
        assert permitted(client, keys["read"]) == {"read", "export"}
        assert permitted(client, keys["admin"]) == {"admin", "review", "read", "export"}
        assert permitted(client, both) == {"chat", "feedback"}


NO_KEYS = [
    ("", "missing_api_key"),
    ("Basic dXNlcjpwYXNz", "missing_api_key"),
    ("Bearer", "missing_api_key"),
    ("Bearer sk-1234", "invalid_api_key"),
    (f"Bearer fbl_0123456789ab_{'x' * 43}", "invalid_api_key"),
    ("Bearer fbt_", "invalid_api_key"),
    ("Bearer fbt_e30.e30", "invalid_api_key"),
    ("Bearer fbt_ä", "invalid_api_key"),
]


def test_nobody_is_let_in_without_a_key(installation: Installation) -> None:
    real = installation.key("admin")["Authorization"]
    almost = real[:-1] + ("x" if real[-1] != "x" else "y")
    with installation.running() as client:
        assert client.get("/v1/read", headers={"Authorization": real}).status_code == 200
        for header, code in [*NO_KEYS, (almost, "invalid_api_key")]:
            answer = client.get("/v1/read", headers={b"Authorization": header.encode()})
            assert answer.status_code == 401, header
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == ("Authorization", code)


SPELLINGS = ("/", "/v1/none", "/openapi.json", "//healthz", "/healthz/", "/HEALTHZ", "/healthz%2f", "/v1/read/", "//v1/read", "/v1%2Fread")


def test_no_other_spelling_of_a_path_is_public(installation: Installation) -> None:
    with installation.running() as client:
        for path, method in itertools.product(SPELLINGS, ("GET", "HEAD", "OPTIONS", "DELETE")):
            assert client.request(method, path).status_code == 401, (method, path)


def test_health_is_public_and_says_no_reasons(installation: Installation) -> None:
    key = installation.key("read")
    with installation.running() as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json() == {"ready": True}
        assert client.get("/readyz", headers=bearer("nonsense")).json() == {"ready": True}
        assert client.get("/readyz", headers=key).json() == {"ready": True, "reasons": {}}


def test_a_channel_needs_a_key_too(installation: Installation) -> None:
    with installation.running() as client:
        with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("/channel", headers=HERE):
            pass
        assert closed.value.code == 1008
        with client.websocket_connect("/channel", headers=installation.key("chat") | HERE) as channel:
            channel.send_text("in")
            assert channel.receive_text() == "in"


def test_a_revoked_key_in_use_ends_within_a_second_in_every_process_and_is_on_the_audit_trail(installation: Installation) -> None:
    key = installation.key("chat", name="chat")
    with installation.running() as one, installation.running() as other:
        for client in (one, other):
            assert client.get("/v1/chat", headers=key).status_code == 200
        installation.changes.revoke("chat")
        for client in (one, other):
            until(lambda client=client: client.get("/v1/chat", headers=key).status_code == 401, seconds=5)  # type: ignore[misc]
        assert "key chat" in one.get("/v1/chat", headers=key).json()["error"]["message"]
        until(lambda: sum(isinstance(each, RequestsRefused) for each in installation.audit()) == 2, seconds=5)
    refused = [each for each in installation.audit() if isinstance(each, RequestsRefused)]
    assert {(each.caller, each.request, each.status) for each in refused} == {("key:chat", "*", 401)}


def test_a_stream_and_a_channel_end_with_the_key_that_opened_them(installation: Installation) -> None:
    key = installation.key("read", name="reader")
    with (
        installation.running() as client,
        run_app(cast(FastAPI, client.app)) as url,
        httpx.stream("GET", f"{url}/v1/stream", headers=key) as stream,
    ):
        parts = stream.iter_raw()
        assert next(parts) == b"."
        with client.websocket_connect("/channel", headers=key | HERE) as channel:
            channel.send_text("a")
            assert channel.receive_text() == "a"
            installation.changes.revoke("reader")
            assert len(list(itertools.islice(parts, 1_000))) < 1_000, "it goes on"
            channel.send_text("b")
            with pytest.raises(WebSocketDisconnect) as closed:
                channel.receive_text()
        assert closed.value.code == 1008


def test_a_rotated_key_stays_valid_beside_the_new_one_until_the_overlap_ends(installation: Installation) -> None:
    old = installation.key("chat", name="chat")
    new = bearer(installation.changes.rotate("chat", timedelta(minutes=30))[1])
    with installation.running() as client:
        assert [client.get("/v1/chat", headers=key).status_code for key in (old, new)] == [200, 200]
        installation.ahead = timedelta(minutes=31)
        assert [client.get("/v1/chat", headers=key).status_code for key in (old, new)] == [401, 200]


def test_a_key_expires_by_the_clock_of_the_process_that_checks_it(installation: Installation) -> None:
    key = installation.key("chat", expires_at=datetime.now(UTC) + timedelta(minutes=5))
    with installation.running() as client:
        installation.ahead = timedelta(minutes=-10)
        assert client.get("/v1/chat", headers=key).status_code == 200
        installation.ahead = timedelta(minutes=10)
        assert "expired at" in client.get("/v1/chat", headers=key).json()["error"]["message"]


def test_what_a_caller_may_not_do_is_on_the_audit_trail_once_a_minute_with_the_number(installation: Installation) -> None:
    key = installation.key("chat", name="chat")
    with installation.running() as client:
        for _ in range(3):
            assert refusal(client, "/v1/review", key) == (403, "not_allowed")
            assert refusal(client, "/v1/none", {}) == (401, "missing_api_key")
        until(lambda: any(isinstance(each, RequestsRefused) for each in installation.audit()), seconds=5)
    refused = [each for each in installation.audit() if isinstance(each, RequestsRefused)]
    assert {(each.caller, each.request, each.status) for each in refused} == {("key:chat", "GET /v1/review", 403)}


def test_refusals_are_counted_by_the_minute() -> None:
    from access.refusals import Refusal, Refusals

    moment = 0.0
    refusals = Refusals(lambda: moment)
    one, other = Refusal("key:a", "GET /x", 403), Refusal("key:b", "GET /x", 403)
    refusals.note(one)
    assert [(each.caller, each.times) for each in refusals.due()] == [("key:a", 1)]
    for each in (one, one, other):
        refusals.note(each)
    assert [(each.caller, each.times) for each in refusals.due()] == [("key:b", 1)]
    moment = 60.0
    assert [(each.caller, each.times) for each in refusals.due()] == [("key:a", 2)]
    assert refusals.due() == []


def test_each_key_has_its_own_rate_limit_and_guessing_has_one_by_address(installation: Installation) -> None:
    one, other = installation.key("chat", name="one"), installation.key("chat", name="other")
    with installation.running(requests_per_minute=3) as client:
        assert [client.get("/v1/chat", headers=one).status_code for _ in range(4)] == [200, 200, 200, 429]
        limited = client.get("/v1/chat", headers=one)
        assert limited.json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(limited.headers["Retry-After"]) <= 60
        assert client.get("/v1/chat", headers=other).status_code == 200
        assert [client.get("/v1/chat", headers=bearer("guess")).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert client.get("/v1/chat", headers=other).status_code == 200, "a valid key is not counted by its address"
        assert client.get("/healthz").status_code == 200


def test_the_address_behind_a_proxy_is_the_last_one_that_no_proxy_of_ours_added(installation: Installation) -> None:
    def guess(client: TestClient, forwarded: str) -> int:
        return client.get("/v1/chat", headers=bearer("guess") | {"X-Forwarded-For": forwarded}).status_code

    with installation.running(requests_per_minute=1, behind_proxy=("198.51.100.0/24",)) as client:
        assert guess(client, "203.0.113.1") == 401
        assert guess(client, "192.0.2.99, 203.0.113.1") == 429, "what a client writes in front changes nothing"
        assert guess(client, "203.0.113.2, 198.51.100.7") == 401
        assert guess(client, "nonsense") == 401
    with installation.running(requests_per_minute=1) as client:
        assert [guess(client, f"203.0.113.{n}") for n in (1, 2)] == [401, 429], "without a proxy of ours the header says nothing"


# ---- our own processes


def token(installation: Installation, audience: str = "serving", ahead: timedelta = timedelta()) -> dict[str, str]:
    return bearer(OwnToken(installation.keys, "hub", audience, lambda: datetime.now(UTC) + ahead).text())


def test_our_own_processes_call_each_other_with_short_lived_tokens(installation: Installation) -> None:
    installation.keys.generate()
    with installation.running() as client:
        assert permitted(client, token(installation)) == set(PERMISSIONS)
        assert refusal(client, "/v1/chat", token(installation, "hub")) == (401, "invalid_api_key")
        sent = token(installation)
        installation.ahead = timedelta(seconds=61)
        assert "set the clocks" in client.get("/v1/chat", headers=sent).json()["error"]["message"]


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_token_from_a_clock_ten_minutes_off_lets_nobody_in_and_says_why(installation: Installation, minutes: int) -> None:
    installation.keys.generate()
    key = installation.key("chat")
    with installation.running() as client:
        refused = client.get("/v1/chat", headers=token(installation, ahead=timedelta(minutes=minutes)))
        assert (refused.status_code, "set the clocks" in refused.json()["error"]["message"]) == (401, True)
        assert client.get("/v1/chat", headers=key).status_code == 200


def test_a_token_that_was_altered_or_signed_by_another_installation_is_refused(installation: Installation, tmp_path: Path) -> None:
    installation.keys.generate()
    stranger = Installation(tmp_path / "elsewhere")
    stranger.keys.generate()
    claims, _, signature = token(installation)["Authorization"].removeprefix("Bearer fbt_").partition(".")
    raw = base64.urlsafe_b64decode(claims + "==").replace(b'"hub"', b'"cli"')
    altered = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    with installation.running() as client:
        assert refusal(client, "/v1/chat", bearer(f"fbt_{altered}.{signature}")) == (401, "invalid_api_key")
        assert refusal(client, "/v1/chat", token(stranger)) == (401, "invalid_api_key")


def test_without_the_services_key_nothing_is_signed_and_keys_stay_valid(installation: Installation) -> None:
    key = installation.key("chat")
    (installation.home / "keys" / SERVICE).unlink()
    with installation.running() as client:
        assert client.get("/v1/chat", headers=key).status_code == 200
        with pytest.raises(AttestationError, match="signing key"):
            token(installation)
        with pytest.raises(AttestationError, match="signing key"):
            installation.changes.revoke("product")


# ---- the log away


class Away(MemoryBus):
    """A log that does not answer while ``away``."""

    away = True

    def read(self, *arguments: Any, **more: Any) -> Any:
        self._answer()
        return super().read(*arguments, **more)

    def bounds(self, *arguments: Any) -> Any:
        self._answer()
        return super().bounds(*arguments)

    def publish(self, records: Any, *, timeout: float) -> list[Position]:
        self._answer()
        return super().publish(records, timeout=timeout)

    def _answer(self) -> None:
        if self.away:
            raise Overloaded("Kafka does not answer")


def test_while_the_log_is_away_the_last_keys_known_here_count(tmp_path: Path) -> None:
    bus = Away()
    bus.away = False
    installation = Installation(tmp_path, bus)
    key, revoked = installation.key("chat", name="chat"), installation.key("chat", name="gone")
    installation.changes.revoke("gone")
    with installation.running():
        until(lambda: (tmp_path / "access.json").exists())
    assert (tmp_path / "access.json").stat().st_mode & 0o777 == 0o600
    bus.away = True
    with installation.running() as client:
        assert client.get("/v1/chat", headers=key).status_code == 200
        assert client.get("/v1/chat", headers=revoked).status_code == 401
        bus.away = False
        installation.changes.revoke("chat")
        until(lambda: client.get("/v1/chat", headers=key).status_code == 401, seconds=5)


def test_without_log_or_memory_nobody_is_let_in_until_the_log_is_back(tmp_path: Path) -> None:
    bus = Away()
    bus.away = False
    installation = Installation(tmp_path, bus)
    key = installation.key("chat")
    (tmp_path / "access.json").unlink()
    bus.away = True
    with installation.running(ready=False) as client:
        refused = client.get("/v1/chat", headers=key)
        assert (refused.status_code, refused.json()["error"]["code"], refused.headers["Retry-After"]) == (503, "not_ready", "1")
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/chat", headers=bearer("guess")).status_code == 401
        bus.away = False
        until(lambda: client.get("/v1/chat", headers=key).status_code == 200, seconds=5)


def test_the_memory_is_no_way_in(tmp_path: Path) -> None:
    """What the log says replaces it as soon as the log answers."""
    installation = Installation(tmp_path)
    key = installation.key("chat")
    with installation.running() as client:
        assert client.get("/v1/chat", headers=key).status_code == 200
    installation.bus = MemoryBus()
    with installation.running() as client:
        assert client.get("/v1/chat", headers=key).status_code == 401


def test_refusals_while_the_log_is_away_are_on_the_audit_trail_later(tmp_path: Path) -> None:
    bus = Away()
    bus.away = False
    installation = Installation(tmp_path, bus)
    key = installation.key("chat")
    with installation.running() as client:
        bus.away = True
        assert refusal(client, "/v1/read", key) == (403, "not_allowed")
        bus.away = False
        until(lambda: any(isinstance(each, RequestsRefused) for each in installation.audit()), seconds=5)


def test_changes_of_a_later_program_stop_the_reader_which_says_so(installation: Installation) -> None:
    key = installation.key("read")
    later = orjson.dumps(installation.audit()[0].model_dump(mode="json") | {"schema_version": 99, "serial": 2})
    with installation.running() as client:
        installation.bus.publish([Record("access", b"", later)], timeout=5)
        until(lambda: client.get("/readyz").status_code == 503, seconds=5)
        assert "not read any more" in client.get("/readyz", headers=key).json()["reasons"]["access"]


def test_whoever_invents_ids_of_keys_does_not_have_files_read_all_the_time(installation: Installation) -> None:
    moment, read = 0.0, 0

    class Counted(Keys):
        def trusted(self) -> dict[str, PublicKey]:
            nonlocal read
            read += 1
            return super().trusted()

    installation.keys.generate()
    keys = TrustedKeys(Counted(installation.home, AttestationSettings()), lambda: moment)
    assert [keys.find(f"{n:064x}") for n in range(5)] == [None] * 5
    assert read == 1
    moment = 1.0
    [own] = installation.keys.published()
    assert keys.find(own.keyid) == own
    assert read == 1, "it was known already"


# ---- the mode


def test_a_mode_that_is_not_set_is_open_until_there_is_a_key(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path})

    def control(**access: Any) -> AccessControl:
        return AccessControl.of(settings.with_values(access=access), "hub", installation.bus, installation.bus)

    assert control().check is None
    installation.key("chat")
    with pytest.raises(ConfigurationError, match="mode is not set, and there are API keys"):
        control()
    assert control(mode="open").check is None
    assert control(mode="required").check is not None
    installation.changes.revoke("product")
    assert control().check is None


@pytest.mark.parametrize(
    ("access", "message"),
    [
        ({"mode": "required", "proxy_authenticates": True}, "proxy_authenticates"),
        ({"behind_proxy": ["10.0.0.1"]}, "behind_proxy"),
        ({"tls_certificate": "cert.pem"}, "set both or neither"),
        ({"mode": "required", "tls_certificate": "/none/cert.pem", "tls_key": "/none/key.pem"}, "No such file"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, access: dict[str, Any], message: str) -> None:
    settings = Settings.read(tmp_path, environ={}).with_values({"home": tmp_path}, access=access)
    with pytest.raises(ConfigurationError, match=message):
        AccessControl.of(settings, "hub", MemoryBus(), MemoryBus())


def test_the_home_of_another_machine_needs_only_the_public_key(tmp_path: Path) -> None:
    """A replica of serving verifies, and can neither make keys nor tokens."""
    installation = Installation(tmp_path / "hub")
    key = installation.key("chat")
    public = tmp_path / "hub.pub"
    public.write_bytes((installation.home / "keys" / f"{SERVICE}.pub").read_bytes())

    @property  # type: ignore[misc]
    def keys(_self: Installation) -> Keys:
        return Keys(tmp_path / "replica", AttestationSettings(trusted=(public,)))

    replica = type("Replica", (Installation,), {"keys": keys})(tmp_path, installation.bus)
    with replica.running() as client:
        assert client.get("/v1/chat", headers=key).status_code == 200
        assert client.get("/v1/chat", headers=token(installation)).status_code == 200
