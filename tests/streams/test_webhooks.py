"""Webhooks against real HTTP receivers, which verify signatures with the library of the specification."""

import base64
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from deploy.cli.effective import as_json, as_toml
from storage.artifacts import Artifacts
from storage.errors import ConfigurationError
from storage.events import Event, ModelPromoted, ModelRolledBack, ReviewDecided, new_id
from storage.settings import Settings
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import records_of
from streams.evaluations import RunArtifacts
from streams.stations.sink import Sink
from streams.stations.webhooks import Webhooks
from streams.webhooks.deliveries import Deliveries
from streams.webhooks.notices import Notice
from streams.webhooks.sender import Retrying, Sender
from streams.webhooks.settings import WebhookSettings
from streams.webhooks.signature import keys_of, signed_headers
from tests.streams.examples import evaluated, of_its_run
from tests.streams.memory_bus import MemoryBus

SECRET = "whsec_" + base64.b64encode(b"the test's secret of thirty-two").decode()
OTHER = "whsec_" + base64.b64encode(b"another secret, also long enough").decode()
SOON = Retrying(first=0.05, longest=0.2)
KINDS = ["model.evaluated", "model.evaluated", "gates.failed", "model.promoted", "model.rolled_back"]


@dataclass
class Receiver:
    """A receiver on 127.0.0.1: refuses what is not signed with its secret, answers ``status`` to the rest."""

    port: int = 0
    secret: str = SECRET
    status: int = 204
    location: str = ""
    requests: int = 0
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)  # reads requests and does not answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?token=in-the-url"

    @property
    def kinds(self) -> list[str]:
        return [body["type"] for _, body in self.got]

    @contextmanager
    def up(self) -> Iterator["Receiver"]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.requests += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                if receiver.hanging.is_set():
                    while receiver.hanging.is_set():
                        threading.Event().wait(0.01)
                    return
                status = receiver.status
                try:
                    Webhook(receiver.secret).verify(body, dict(self.headers))
                except WebhookVerificationError:
                    status = 401
                if status == 204:
                    receiver.got.append((self.headers["webhook-id"], json.loads(body)))
                self.send_response(status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            yield self
            server.shutdown()
            thread.join()


class House:
    """A hub's sink and webhooks on one home; ``restart`` abandons the station as a kill does."""

    def __init__(self, home: Path, **receivers: Receiver) -> None:
        self.bus, self.artifacts = MemoryBus(), Artifacts(str(home / "artifacts"))
        self.warehouse = Warehouse.open(home / "warehouse.duckdb")
        self.sink = Sink(self.bus, self.warehouse, "hub-1")
        self.home = home
        endpoints: dict[str, Any] = {name: {"url": receiver.url} for name, receiver in receivers.items()}
        self.settings = WebhookSettings.model_validate({"endpoints": endpoints, "secrets": dict.fromkeys(endpoints, SECRET)})
        self.sink.step(0)
        self.restart()

    def restart(self, settings: WebhookSettings | None = None) -> None:
        path, run_artifacts = self.home / "webhooks.sqlite", RunArtifacts(self.artifacts)
        self.settings = settings or self.settings
        self.station = Webhooks(self.bus, self.warehouse, run_artifacts, self.settings, path, threading.Event(), SOON)
        self.sink.listeners = [self.station.wake_for]
        self.station.step(0)

    def happens(self, *events: Event) -> None:
        self.bus.publish(records_of(events), timeout=1)
        self.sink.step(0)
        self.station.step(0)

    def history(self) -> None:
        """A version is promoted and rolled back, another fails its gates."""
        good, bad = evaluated("good"), evaluated("bad", "failed", "insufficient")
        review = ReviewDecided(source="product", version=good.version, decision="approve", reviewer="Rosa", reason="better")
        self.happens(*of_its_run(good, self.artifacts), *of_its_run(bad, self.artifacts))
        self.happens(ModelPromoted(source="product", version=bad.version, review=new_id()))  # without effect
        self.happens(review, ModelPromoted(source="product", version=good.version, review=review.event_id))
        self.happens(ModelRolledBack(source="product", version=good.version, reviewer="Rosa", reason="wrong dates"))

    def close(self) -> None:
        self.station.close()
        self.warehouse.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "condition not met in time"
        threading.Event().wait(0.01)


def test_a_signature_is_that_of_the_specifications_library() -> None:
    body, moment = b'{"type":"model.promoted"}', int(time.time())
    headers = signed_headers(keys_of(SecretStr(f"{OTHER} {SECRET}")), "msg_1", moment, body)
    for secret in (SECRET, OTHER):
        Webhook(secret).verify(body, headers)
    assert headers["webhook-signature"].split()[1] == signed_headers(keys_of(SecretStr(SECRET)), "msg_1", moment, body)["webhook-signature"]
    forged: list[tuple[bytes, dict[str, str]]] = [
        (body + b" ", headers),
        (body, headers | {"webhook-id": "msg_2"}),
        (body, headers | {"webhook-timestamp": str(moment + 1)}),
        (body, signed_headers(keys_of(SecretStr(OTHER)), "msg_1", moment, body)),
    ]
    for changed, changed_headers in forged:
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(changed, changed_headers)


def test_each_kind_is_sent_signed_and_once(tmp_path: Path) -> None:
    with Receiver().up() as receiver, closing(House(tmp_path, ops=receiver)) as house:
        house.history()
        until(lambda: len(receiver.got) == len(KINDS))
        assert sorted(receiver.kinds) == sorted(KINDS)
        assert len({webhook_id for webhook_id, _ in receiver.got}) == len(KINDS)
        data = {body["type"]: body["data"] for _, body in receiver.got if body["data"]["version"] == evaluated("good").version}
        assert (data["model.promoted"]["replaces"], data["model.rolled_back"]["champion"]) == ("base", "base")
        assert data["model.rolled_back"]["reason"] == "wrong dates"
        [failed] = [body["data"] for _, body in receiver.got if body["type"] == "gates.failed"]
        assert [gate["verdict"] for gate in failed["gates"]] == ["failed", "insufficient"]
        forged = httpx.post(
            receiver.url, content=b"{}", headers=signed_headers(keys_of(SecretStr(OTHER)), "msg_1", int(time.time()), b"{}")
        )
        assert forged.status_code == 401
        house.restart()
        house.happens(*of_its_run(evaluated("next"), house.artifacts))
        until(lambda: len(receiver.got) == len(KINDS) + 1)
        assert receiver.kinds[-1] == "model.evaluated"


def test_a_receiver_that_was_down_gets_everything_once_and_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "streams")
    dead = Receiver()
    with dead.up():
        pass  # takes a port, and closes it
    with Receiver().up() as receiver, closing(House(tmp_path, dead=dead, ops=receiver)) as house:
        house.history()
        until(lambda: len(receiver.got) == len(KINDS))
        assert dead.got == []
        with dead.up():
            until(lambda: len(dead.got) == len(KINDS))
            until(lambda: house.station._deliveries is not None and house.station._deliveries.next("dead") is None)
        assert sorted(webhook_id for webhook_id, _ in dead.got) == sorted(webhook_id for webhook_id, _ in receiver.got)
    assert "did not answer (ConnectError)" in caplog.text
    for secret in (SECRET.removeprefix("whsec_"), "in-the-url"):
        assert secret not in caplog.text


def test_a_new_endpoint_gets_what_happens_from_then_on_and_only_its_kinds(tmp_path: Path) -> None:
    with Receiver().up() as receiver, closing(House(tmp_path)) as house:
        house.history()
        choice = {"endpoints": {"late": {"url": receiver.url, "kinds": ["gates.failed"]}}, "secrets": {"late": SECRET}}
        house.restart(WebhookSettings.model_validate(choice))
        for name in ("second", "third"):
            house.happens(*of_its_run(evaluated(name, "failed"), house.artifacts))
        until(lambda: len(receiver.got) == 2)
        assert receiver.kinds == ["gates.failed"] * 2
        assert [body["data"]["version"] for _, body in receiver.got] == [evaluated(name).version for name in ("second", "third")]


def test_the_warehouse_has_to_be_where_the_log_was_before_an_endpoint_is_added(tmp_path: Path) -> None:
    with Receiver().up() as receiver, closing(House(tmp_path)) as house:
        house.bus.publish(records_of(of_its_run(evaluated("before"), house.artifacts)), timeout=1)
        choice = {"endpoints": {"late": {"url": receiver.url}}, "secrets": {"late": SECRET}}
        house.restart(WebhookSettings.model_validate(choice))  # the hub has not read that event yet
        house.happens()
        house.happens(*of_its_run(evaluated("after"), house.artifacts))
        until(lambda: len(receiver.got) == 1)
        assert receiver.got[0][1]["data"]["version"] == evaluated("after").version


@contextmanager
def sending(path: Path, url: str, retrying: Retrying, clock: Callable[[], float] = time.time) -> Iterator[Deliveries]:
    """One notice that waits for ``url``, and its sender."""
    deliveries = Deliveries(path)
    deliveries.add("ops", [], ["model.evaluated"], clock())
    deliveries.add("ops", [Notice("msg_1", "model.evaluated", b'{"type":"model.evaluated"}')], ["model.evaluated"], clock())
    sender = Sender("ops", url, keys_of(SecretStr(SECRET)), deliveries, retrying, clock)
    sender.start()
    yield deliveries
    sender.stop()
    assert sender.join(5)
    deliveries.close()


CHILD = """
import sys, threading, time
from pathlib import Path
from pydantic import SecretStr
from streams.webhooks.deliveries import Deliveries
from streams.webhooks.notices import Notice
from streams.webhooks.sender import Sender
from streams.webhooks.signature import keys_of

path, url, secret = sys.argv[1:]
deliveries, kinds = Deliveries(Path(path)), ["model.evaluated", "gates.failed"]
deliveries.add("ops", [], kinds, time.time())
deliveries.add("ops", [Notice(f"msg_{kind}", kind, b'{"type":"%s"}' % kind.encode()) for kind in kinds], kinds, time.time())
Sender("ops", url, keys_of(SecretStr(secret)), deliveries).start()
threading.Event().wait()
"""


def test_a_process_killed_while_it_sends_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.sqlite"
    with Receiver().up() as receiver:
        receiver.hanging.set()
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), receiver.url, SECRET])
        try:
            until(lambda: receiver.requests == 1)
        finally:
            child.kill()
            child.wait()
        receiver.hanging.clear()
        deliveries = Deliveries(path)
        sender = Sender("ops", receiver.url, keys_of(SecretStr(SECRET)), deliveries)
        sender.start()
        until(lambda: deliveries.next("ops") is None)
        sender.stop()
        assert sender.join(5)
        deliveries.close()
    assert receiver.kinds == ["model.evaluated", "gates.failed"]
    assert receiver.requests == 3  # the first was sent twice, with the same id


def test_a_redirect_is_not_followed_and_counts_as_a_failure(tmp_path: Path) -> None:
    with Receiver().up() as elsewhere, Receiver(status=302, location=elsewhere.url).up() as receiver:
        with sending(tmp_path / "webhooks.sqlite", receiver.url, SOON):
            until(lambda: receiver.requests == 2)
            receiver.status, receiver.location = 204, ""
            until(lambda: len(receiver.got) == 1)
        assert elsewhere.requests == 0


@pytest.mark.parametrize(("status", "given_up_after", "attempts"), [(410, 86_400.0, 1), (500, 0.0, 1)])
def test_what_cannot_be_delivered_is_given_up_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, given_up_after: float, attempts: int
) -> None:
    with Receiver(status=status).up() as receiver:
        retrying = Retrying(first=0.01, longest=0.02, give_up_after=given_up_after)
        with sending(tmp_path / "webhooks.sqlite", receiver.url, retrying) as deliveries:
            until(lambda: deliveries.next("ops") is None)
    assert receiver.requests == attempts
    assert f"webhook msg_1 (model.evaluated) given up after {attempts} attempts: ops at 127.0.0.1 answered {status}" in caplog.text


def test_retries_back_off_with_jitter_up_to_an_hour_for_a_day() -> None:
    retrying = Retrying()
    assert [retrying.delay(n, 0.0) for n in (1, 2, 3, 10, 11, 10_000)] == [5, 10, 20, 2560, 3600, 3600]
    assert [retrying.delay(n, 0.999999) for n in (1, 11)] == pytest.approx([2.5, 1800], rel=1e-3)
    assert retrying.give_up_after == 24 * 3600


def test_settings_come_from_file_and_env_and_never_show_a_secret(tmp_path: Path) -> None:
    (tmp_path / "feedbackloop.toml").write_text('[webhooks.endpoints.ops]\nurl = "https://ops.example/hooks"\nkinds = ["gates.failed"]\n')
    (tmp_path / ".env").write_text(f"FEEDBACKLOOP_WEBHOOKS__SECRETS__OPS={SECRET}\n")
    settings = Settings.read(tmp_path, {})
    section = settings.section("webhooks", WebhookSettings)
    assert section.endpoints["ops"].kinds == ("gates.failed",)
    assert section.secrets["ops"].get_secret_value() == SECRET
    shown = repr(section) + as_toml(settings) + json.dumps(as_json(settings), default=str)
    assert SECRET.removeprefix("whsec_") not in shown

    wrong: list[tuple[dict[str, str], str]] = [
        ({"FEEDBACKLOOP_WEBHOOKS__SECRETS__OPS": "whsec_c2hvcnQ="}, "secrets.ops: not whsec_ followed by 24 to 64 bytes in base64"),
        ({"FEEDBACKLOOP_WEBHOOKS__SECRETS__OPS": SECRET.removeprefix("whsec_")}, "secrets.ops: not whsec_ followed by"),
        ({"FEEDBACKLOOP_WEBHOOKS__SECRETS__OTHER": SECRET}, "secrets.other: there is no endpoint of this name"),
        ({"FEEDBACKLOOP_WEBHOOKS__ENDPOINTS": '{"ops": {"url": "ftp://x"}}'}, "not an http or https URL"),
        ({"FEEDBACKLOOP_WEBHOOKS__ENDPOINTS": '{"ops": {"url": "http://x"}, "two": {"url": "http://y"}}'}, "SECRETS__TWO into .env"),
    ]
    for variables, words in wrong:
        with pytest.raises(ConfigurationError, match=words) as refused:
            Settings.read(tmp_path, variables).section("webhooks", WebhookSettings)
        assert SECRET.removeprefix("whsec_") not in str(refused.value)
