"""Serving, the hub, the command line and the client with API keys: what our own processes need to call each other, over HTTP and HTTPS."""

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner

from access.caller import Caller
from access.changes import AccessChanges
from access.keys import SCOPES
from access.own import own_client
from access.settings import AccessSettings
from benchmarks.gates.promoted_world import PromotedWorld
from dashboard.actions.reviews import Reviews
from deploy.cli import client as hub_client
from deploy.cli.main import app
from deploy.demo import demo_settings
from deploy.demo_plans import plan_for
from deploy.own_processes import is_ready, why_not_ready
from feedbackloop import APIError, Client
from serving.app import create_app
from storage.attestation.keys import Keys, private_pem
from storage.attestation.settings import AttestationSettings
from storage.errors import ConfigurationError, FeedbackLoopError
from storage.events import DecisionMade
from storage.events.wire import decode
from storage.settings import Settings
from streams.addresses import url_of
from streams.health import listen
from streams.http.server import server_config
from tests.access.installation import bearer, until
from tests.dashboard.small_world import RunningHub, running_hub
from tests.dashboard.test_page_calls import CALL, DECIDED, LISTED
from tests.serving.conftest import run_app
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus

REQUIRED = {"mode": "required"}
PRODUCT = "https://product.example"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    asked = Settings.read(home, environ={}).with_values({"home": home}, access=REQUIRED)
    return asked.with_values(upstream={"url": "http://127.0.0.1:9/v1", "model": "some-model"}, serving={"cors_origins": (PRODUCT,)})


@pytest.fixture(scope="module")
def serving(settings: Settings) -> Iterator[str]:
    with run_app(create_app(settings)) as url:
        until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
        yield url


@pytest.fixture(scope="module")
def hub(settings: Settings, serving: str) -> Iterator[RunningHub]:
    with running_hub(settings.common.home, hub={"serving_url": serving}, access=REQUIRED) as running:
        yield running


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """The command line on the home of the fixture."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDBACKLOOP_HOME", str(settings.common.home))
    monkeypatch.setenv("FEEDBACKLOOP_ACCESS__MODE", "required")
    return CliRunner()


def run(command: CliRunner, *words: str) -> str:
    done = command.invoke(app, ["keys", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output.strip()


def test_a_key_made_on_the_command_line_is_used_listed_rotated_and_revoked(command: CliRunner, serving: str) -> None:
    key = run(command, "create", "product", "--scope", "feedback", "--scope", "chat", "--recruiter", "Ana", "--days", "30")
    with Client(serving, api_key=key, retries=0) as client:
        until(lambda: _lists_models(client))
        receipt = client.rate("c-1", "up", recruiter="ANA")
        assert receipt.event_id
        with pytest.raises(APIError, match="may not speak for this recruiter") as refused:
            client.rate("c-1", "up", recruiter="Bob")
        assert (refused.value.status, refused.value.temporary) == (403, False)
        both = [{"type": "thumb", "conversation_id": "c-1", "thumb": "up", "recruiter": name} for name in ("Ana", "Bob")]
        answer = httpx.post(f"{serving}/v1/feedback/bulk", json={"items": both}, headers=bearer(key)).json()
        assert [each["status"] for each in answer["results"]] == ["accepted", "refused"]
        assert answer["results"][1]["error"]["code"] == "not_allowed"
        listed = run(command, "list")
        assert "product" in listed
        assert "chat,feedback" in listed
        assert "recruiters: 1" in listed
        assert key not in listed
        new = run(command, "rotate", "product", "--overlap", "1")
        until(lambda: httpx.get(f"{serving}/v1/models", headers=bearer(new)).status_code == 200, seconds=5)
        assert _lists_models(client)
        assert run(command, "revoke", "product").count("product") == 2
        until(lambda: not _lists_models(client), seconds=5)
        assert "ended" in run(command, "list")


def _lists_models(client: Client) -> bool:
    try:
        return bool(client.models())
    except APIError as error:
        if error.status != 401:
            raise
        return False


def test_the_hub_asks_serving_and_the_command_line_asks_the_hub_with_tokens(hub: RunningHub, settings: Settings) -> None:
    until(lambda: hub.hub.serving.version == "some-model")
    port = int(hub.url.rpartition(":")[2])
    here = settings.with_values(hub={"port": port})
    assert hub_client.hub_runs(here)
    assert "counts" in hub_client.get(here, "/v1/status")
    with pytest.raises(FeedbackLoopError, match="an API key is needed"):
        hub_client.get(here.with_values(access={"mode": "open"}), "/v1/status")
    assert httpx.get(f"{hub.url}/v1/status").status_code == 401
    assert httpx.get(f"{hub.url}/").status_code == 401
    assert httpx.get(f"{hub.url}/assets/style.css").status_code == 401
    assert httpx.get(f"{hub.url}/metrics").status_code == 401


def test_a_key_for_reading_opens_pages_and_exports_and_decides_nothing(hub: RunningHub, settings: Settings) -> None:
    changes = AccessChanges(hub.hub.bus, Keys(settings.common.home, AttestationSettings()))
    key = bearer(changes.issue("auditor", ["read"])[1])
    until(lambda: httpx.get(f"{hub.url}/v1/status", headers=key).status_code == 200)
    for path in ("/", "/_dash-layout", "/_dash-dependencies", "/assets/style.css", "/metrics", "/v1/export", "/openapi.json"):
        assert httpx.get(f"{hub.url}{path}", headers=key).status_code == 200, path
    assert httpx.post(f"{hub.url}{CALL}", json=LISTED, headers=key).status_code == 200
    assert httpx.post(f"{hub.url}{CALL}", json=LISTED).status_code == 401
    assert "needs the permission review" in httpx.post(f"{hub.url}{CALL}", json=DECIDED, headers=key).text
    for path in ("/v1/freeze", "/v1/rollback", "/v1/versions/v-1/review", "/v1/judgments", "/v1/chat"):
        assert httpx.post(f"{hub.url}{path}", json={}, headers=key).status_code == 403, path
    assert httpx.get(f"{hub.url}/v1/queue", params={"recruiter": "ana"}, headers=key).status_code == 403


def test_a_page_of_an_allowed_origin_may_ask_whether_it_may_send_a_key_and_reads_that_its_own_is_wrong(serving: str) -> None:
    preflight = {"Origin": PRODUCT, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    asked = httpx.options(f"{serving}/v1/feedback", headers=preflight)
    assert (asked.status_code, asked.headers["Access-Control-Allow-Origin"]) == (200, PRODUCT)
    refused = httpx.post(f"{serving}/v1/feedback", json={}, headers={"Origin": PRODUCT})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, PRODUCT)


def test_a_process_that_gives_no_reasons_is_not_ready_all_the_same() -> None:
    class Silent(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(503, json={"ready": False})

    assert why_not_ready(httpx.Client(transport=Silent(), base_url="http://127.0.0.1:1")) == "it reports that it is not ready"


def test_who_decided_is_on_the_log_beside_the_decision(tmp_path: Path) -> None:
    world, bus = PromotedWorld(tmp_path), MemoryBus()
    version = world.evaluate("one").version
    decided = Reviews(bus, lambda: world.versions, world.artifacts).decide(
        Caller("key", "key:ops", SCOPES["admin"]), version, decision="reject", reviewer="Rosa", reason="no"
    )
    [made] = [decode(entry.value) for entry in everything(bus, "access")]
    assert isinstance(made, DecisionMade)
    assert (made.caller, made.decision) == ("key:ops", decided.event_id)


def test_the_demo_does_not_start_where_its_people_would_need_keys(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="FEEDBACKLOOP_ACCESS__MODE=open"):
        demo_settings(settings, plan_for(settings))


# ---- beyond this machine


def certificate(folder: Path) -> AccessSettings:
    """A self-signed certificate for another name than the one by which it is reached."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loop.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("loop.example")]), critical=False)
        .sign(private, SHA256())
    )
    folder.mkdir()
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(private_pem(private))
    return AccessSettings(mode="required", tls_certificate=folder / "cert.pem", tls_key=folder / "key.pem")


def test_our_own_processes_speak_https_and_trust_our_certificate_alone(settings: Settings, tmp_path: Path) -> None:
    ours, other = (certificate(tmp_path / name).model_dump(exclude_unset=True) for name in ("ours", "other"))
    address = listen("127.0.0.1", 0)
    secure = settings.with_values({"home": tmp_path / "home"}, access=ours, serving={"port": address.getsockname()[1]})
    Keys(secure.common.home, AttestationSettings()).generate()
    assert url_of(secure, "serving").startswith("https://127.0.0.1:")
    assert url_of(secure, "trainer").startswith("http://")
    server = uvicorn.Server(server_config(create_app(secure), **AccessSettings.of(secure).tls))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
    thread.start()
    try:
        until(lambda: is_ready(url_of(secure, "serving")))
        with own_client(secure, "hub", "serving") as client:
            assert why_not_ready(client) == ""
            assert client.get("/v1/models").status_code == 200
        with (
            own_client(secure.with_values(access=other), "hub", "serving") as client,
            pytest.raises(httpx.ConnectError, match="CERTIFICATE"),
        ):
            client.get("/v1/models")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(url_of(secure, "serving").replace("https", "http"))
    finally:
        server.should_exit = True
        thread.join(10)


def test_tls_is_spoken_with_recommended_versions_and_ciphers_only(tmp_path: Path) -> None:
    config = server_config(FastAPI(), **certificate(tmp_path / "tls").tls)
    config.load()
    assert config.ssl is not None
    assert config.ssl.minimum_version >= ssl.TLSVersion.TLSv1_2
    offered: list[dict[str, Any]] = [dict(each) for each in config.ssl.get_ciphers()]
    assert all(each["aead"] for each in offered)
    assert {each["kea"] for each in offered} == {"kx-ecdhe", "kx-any"}, "forward secrecy; any: that of TLS 1.3, which always has it"


def test_only_a_process_that_asks_for_keys_over_https_or_behind_a_proxy_listens_beyond_this_machine(tmp_path: Path) -> None:
    assert not AccessSettings().exposed
    assert not AccessSettings(mode="required").exposed
    assert AccessSettings(mode="required", behind_proxy=("10.0.0.1",)).exposed
    assert certificate(tmp_path / "tls").exposed
    with pytest.raises(ConfigurationError, match=r"\[access\] mode = \"required\" and either tls_certificate"):
        listen("0.0.0.0", 0)


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000"), ("10.0.0.7", "http://10.0.0.7:8000")]
)
def test_a_process_that_listens_everywhere_is_called_by_its_loopback_address(tmp_path: Path, host: str, url: str) -> None:
    assert url_of(Settings.read(tmp_path, environ={}).with_values(serving={"host": host}), "serving") == url
