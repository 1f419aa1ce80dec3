"""Sessions: how one begins, what it may do, and when it ends."""

import itertools
import re
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from access.people.back_off import LONGEST, BackOff
from access.people.routes import FILES
from access.people.routes import PAGE as PAGE_PATH
from storage.events import RequestsRefused, SignedIn, SignedOut
from tests.access.installation import PASSWORD, Installation, until
from tests.serving.conftest import run_app

OWN = {"Origin": "https://127.0.0.1"}
HERE = {"Host": "127.0.0.1", "Origin": "https://127.0.0.1"}
PAGE = {"Accept": "text/html"}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def sign_in(client: TestClient, login: str = "ana", password: str = PASSWORD) -> Any:
    return client.post("/sign-in", json={"login": login, "password": password}, headers=OWN)


def status(client: TestClient, path: str) -> int:
    return client.get(path).status_code


def signed_in(client: TestClient) -> str:
    """The session that the client sends, after its sign-in."""
    assert sign_in(client).status_code == 204
    [cookie] = client.cookies.jar
    assert cookie.value is not None
    return cookie.value


def test_who_signs_in_may_do_what_their_roles_permit_until_they_sign_out(installation: Installation) -> None:
    person = installation.add("ana", "recruiter")
    with installation.running() as client:
        assert status(client, "/v1/feedback") == 401
        answer = sign_in(client, " ANA ")
        assert answer.status_code == 204
        assert re.fullmatch(
            r"__Host-feedbackloop=[\w-]{43}; HttpOnly; Path=/; SameSite=lax; Secure", answer.headers["set-cookie"], re.IGNORECASE
        )
        assert [status(client, f"/v1/{each}") for each in ("feedback", "me", "read", "review")] == [200, 200, 403, 403]
        session = client.cookies["__Host-feedbackloop"]
        assert client.post("/sign-out", json={}, headers=OWN).status_code == 204
        client.cookies.set("__Host-feedbackloop", session)
        assert status(client, "/v1/feedback") == 401, "the session itself has ended, not only the cookie"
    trail = [(each.kind, each.person) for each in installation.audit() if isinstance(each, SignedIn | SignedOut)]
    assert trail == [("SignedIn", person.person), ("SignedOut", person.person)]
    refused = [each for each in installation.audit() if isinstance(each, RequestsRefused)]
    assert {(each.caller, each.request) for each in refused} == {
        (f"person:{person.person}", f"GET /v1/{each}") for each in ("read", "review")
    }


def test_the_session_changes_at_sign_in_so_that_nobody_can_plant_one(installation: Installation) -> None:
    installation.add("ana", "recruiter")
    with installation.running() as client:
        client.cookies.set("__Host-feedbackloop", "planted")
        client.post("/sign-in", json={"login": "ana", "password": PASSWORD}, headers=OWN)
        client.cookies.clear()
        client.cookies.set("__Host-feedbackloop", "planted")
        assert status(client, "/v1/me") == 401
        client.cookies.clear()
        first = signed_in(client)
        second = signed_in(client)
        assert first != second
        client.cookies.clear()
        client.cookies.set("__Host-feedbackloop", first)
        assert status(client, "/v1/me") == 401


def test_a_wrong_password_and_an_unknown_login_are_answered_alike(installation: Installation) -> None:
    person = installation.add("ana", "recruiter")
    with installation.running() as client:
        answers = [sign_in(client, "ana", "wrong password"), sign_in(client, "ben"), sign_in(client, "\u200b")]
        assert {(each.status_code, each.content, each.headers.get("set-cookie")) for each in answers} == {(401, answers[0].content, None)}
        installation.people.remove("ana")
        until(lambda: sign_in(client).status_code == 401, 5)
    refused = [each for each in installation.audit() if isinstance(each, RequestsRefused)]
    assert [(each.caller, each.request, each.status) for each in refused] == [(person.caller.name, "POST /sign-in", 401)]


def test_guessing_is_slowed_down_for_the_login_and_the_address_and_nobody_is_locked_out() -> None:
    moment = 0.0
    back_off = BackOff(3, lambda: moment)
    pauses = []
    for _ in range(12):
        pauses.append(back_off.wait("ana"))
        moment += pauses[-1]
        back_off.tried("ana")
    assert pauses == [0, 0, 0, 1, 2, 4, 8, 16, LONGEST, LONGEST, LONGEST, LONGEST]
    assert back_off.wait("ben") == 0
    moment += LONGEST
    back_off.succeeded("ana", forget=True)
    assert back_off.wait("ana") == 0


def test_after_failures_even_the_right_password_has_to_wait(installation: Installation) -> None:
    installation.add("ana", "recruiter")
    with installation.running() as client:
        assert [sign_in(client, "ana", "wrong password").status_code for _ in range(4)] == [401, 401, 401, 429]
        answer = sign_in(client)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        until(lambda: sign_in(client).status_code == 204, 5)


def test_passwords_are_taken_over_https_only_but_on_this_machine(installation: Installation) -> None:
    installation.add("ana", "recruiter")
    with installation.running() as client:
        assert client.get("/sign-in").headers["Strict-Transport-Security"] == "max-age=31536000"
        plain = TestClient(client.app, "http://127.0.0.1", client=("198.51.100.1", 50_000))
        refused = plain.post("/sign-in", json={"login": "ana", "password": PASSWORD})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_secure")
        here = TestClient(client.app, "http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
        assert here.post("/sign-in", json={"login": "ana", "password": PASSWORD}).status_code == 204
        assert [(each.name, each.secure) for each in here.cookies.jar] == [("feedbackloop-8000", False)]
        assert here.get("/v1/me").status_code == 200


def test_behind_a_proxy_its_header_says_whether_the_request_came_by_tls(installation: Installation) -> None:
    installation.add("ana", "recruiter")
    with installation.running(behind_proxy=("198.51.100.0/24",)) as client:
        plain = TestClient(client.app, "http://127.0.0.1", client=("198.51.100.1", 50_000))
        other = TestClient(client.app, "http://127.0.0.1", client=("203.0.113.1", 50_000))
        sent: dict[str, Any] = {"json": {"login": "ana", "password": PASSWORD}}
        for_client = {"X-Forwarded-For": "192.0.2.1"}
        assert plain.post("/sign-in", headers=for_client | {"X-Forwarded-Proto": "https"}, **sent).status_code == 204
        assert plain.post("/sign-in", headers=for_client | {"X-Forwarded-Proto": "https, http"}, **sent).status_code == 403
        assert other.post("/sign-in", headers={"X-Forwarded-Proto": "https"}, **sent).status_code == 403


def test_what_changes_something_has_to_come_from_a_page_of_ours(installation: Installation) -> None:
    person = installation.add("ana", "recruiter")
    with installation.running() as client:
        signed_in(client)
        assert client.post("/v1/write", json={}, headers=OWN).json() == person.person
        assert client.post("/v1/write", json={}, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
        foreign = [
            {},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "https://127.0.0.1:9"},
        ]
        for headers in foreign:
            assert client.post("/v1/write", json={}, headers=headers).status_code == 403, headers
            assert client.post("/sign-out", headers=headers | {"Content-Type": "application/json"}).status_code == 403, headers
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/channel", headers={"Host": "127.0.0.1"}):
            pass
        assert status(client, "/v1/me") == 200


def test_who_decides_is_who_signed_in(installation: Installation) -> None:
    person = installation.add("ana", "reviewer")
    with installation.running() as client:
        signed_in(client)
        assert client.post("/v1/write", json={}, headers=OWN | {"X-As": person.person}).json() == person.person
        refused = client.post("/v1/write", json={}, headers=OWN | {"X-As": "ben"})
        assert (refused.status_code, "who decides is who signed in" in refused.text) == (403, True)


def test_a_browser_that_asks_for_a_page_gets_the_sign_in_page(installation: Installation) -> None:
    with installation.running() as client:
        answer = client.get("/runs?x=1", headers=PAGE, follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in?next=/runs%3Fx%3D1")
        shown = client.get(answer.headers["Location"], headers=PAGE)
        assert (shown.status_code, "<form" in shown.text) == (200, True)
        assert [client.get(f"/sign-in.{each}").status_code for each in ("js", "css")] == [200, 200]
        assert client.get("/v1/read", headers=PAGE).status_code == 401
        assert client.get("/runs").status_code == 401


def test_the_files_of_the_sign_in_page_say_their_encoding(installation: Installation) -> None:
    with installation.running() as client:
        kinds = [client.get(path).headers["content-type"] for path in (PAGE_PATH, *FILES)]
    assert kinds == [f"{kind}; charset=utf-8" for kind in ("text/html", "text/javascript", "text/css", "image/svg+xml")]


ENDS = ["signed out", "removed", "another role", "expired"]


@pytest.mark.parametrize("end", ENDS)
def test_streams_and_channels_end_within_a_second_of_the_session(installation: Installation, end: str) -> None:
    installation.add("ana", "auditor")
    with installation.running() as client, run_app(cast(FastAPI, client.app)) as url:
        here = httpx.Client(base_url=url)
        assert here.post("/sign-in", json={"login": "ana", "password": PASSWORD}).status_code == 204
        cookie = {"Cookie": f"feedbackloop-80={signed_in(client)}"}  # TestClient opens channels without TLS
        with here.stream("GET", "/v1/stream") as stream, client.websocket_connect("/channel", headers=HERE | cookie) as channel:
            parts = stream.iter_raw()
            assert next(parts) == b"."
            channel.send_text("a")
            assert channel.receive_text() == "a"
            if end == "signed out":
                assert here.post("/sign-out", json={}, headers={"Origin": url}).status_code == 204
                assert client.post("/sign-out", json={}, headers=OWN).status_code == 204
            elif end == "removed":
                installation.people.remove("ana")
            elif end == "another role":
                installation.people.change_roles("ana", ["recruiter"])
            else:
                installation.ahead = timedelta(hours=13)
            timer = threading.Timer(5, stream.close)
            timer.start()
            assert len(list(itertools.islice(parts, 1_000))) < 1_000, "it goes on"
            timer.cancel()
            with pytest.raises(WebSocketDisconnect) as closed:
                channel.receive_text()  # nothing is sent: the channel ends by itself
            assert closed.value.code == 1008


def test_a_session_that_nobody_uses_ends_and_an_open_channel_is_no_use(installation: Installation) -> None:
    installation.add("ana", "auditor")
    with installation.running(idle_minutes=30) as client:
        cookie = {"Cookie": f"feedbackloop-80={signed_in(client)}"}
        for minutes in (29, 58):
            installation.ahead = timedelta(minutes=minutes)
            assert status(client, "/v1/me") == 200
        with client.websocket_connect("/channel", headers=HERE | cookie) as channel:
            channel.send_text("a")
            assert channel.receive_text() == "a"
            installation.ahead = timedelta(minutes=58 + 29)
            channel.send_text("b")
            assert channel.receive_text() == "b"
            installation.ahead = timedelta(minutes=58 + 31)
            with pytest.raises(WebSocketDisconnect):
                channel.receive_text()
        assert status(client, "/v1/me") == 401


def test_who_signs_out_everywhere_ends_all_sessions_of_theirs_and_no_other(installation: Installation) -> None:
    installation.add("ana", "recruiter")
    installation.add("ben", "recruiter")
    with installation.running() as client:
        sessions = []
        for login in ("ana", "ana", "ben"):
            client.cookies.clear()
            assert sign_in(client, login).status_code == 204
            sessions.append(client.cookies["__Host-feedbackloop"])
        found = []
        client.cookies.clear()
        client.cookies.set("__Host-feedbackloop", sessions[0])
        assert client.post("/sign-out?everywhere=true", json={}, headers=OWN).status_code == 204
        for session in sessions:
            client.cookies.clear()
            client.cookies.set("__Host-feedbackloop", session)
            found.append(status(client, "/v1/me"))
        assert found == [401, 401, 200]


def test_widget_tokens_die_with_the_recruiter(installation: Installation) -> None:
    origin = "https://ats.example.com"
    key_id = installation.changes.issue("product", ["feedback"])[0].key_id
    ana, _ben = installation.add("ana", "recruiter"), installation.add("ben", "recruiter")
    control = installation.control(widget_origins=(origin,))
    control.start()
    try:
        assert control.check is not None
        check = control.check
        from access.key_check import Credentials
        from access.refused import CallerRefused

        until(lambda: check.follower.state)

        def judges(recruiter: str) -> bool:
            token = control.tokens.made(recruiter, origin, key_id)
            try:
                check.caller(Credentials(f"Bearer {token}"), "192.0.2.1", public=False)
            except CallerRefused:
                return False
            return True

        assert [judges(each) for each in ("r-ana", "r-ben", "r-elsewhere")] == [True, True, True]
        installation.people.remove("ana")
        until(lambda: not judges("r-ana"), 5)
        assert [judges(each) for each in ("r-ben", "r-elsewhere")] == [True, True]
        installation.add("anna", "recruiter", recruiter=ana.recruiter)  # somebody else under this name in the product
        until(lambda: judges("r-ana"), 5)
    finally:
        control.stop()
