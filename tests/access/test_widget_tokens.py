"""Widget tokens: who gets one, what it permits, and how it ends. Browsers are in ``tests/dashboard/test_widget_elsewhere.py``."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from access.caller import caller_of, needs
from access.guard import AccessGuard
from access.widget.elsewhere import PATHS, ROUTES, WidgetPreflights
from access.widget.minting import token_router
from access.widget.tokens import WidgetTokens
from streams.http.errors import KINDS, answer_errors
from streams.http.request_guard import RequestGuard
from streams.intake import Intake
from streams.pseudonyms import pseudonym
from tests.access.installation import Installation, bearer, until

KEY = b"the key of pseudonyms"
ORIGIN, OTHER = "https://ats.example.com", "https://elsewhere.example"
FROM_PAGE = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
PAIR = "0195f0a0-0000-7000-8000-000000000000"


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


@contextmanager
def running(installation: Installation) -> Iterator[TestClient]:
    """An app with the routes of the elements, each of which says who calls, and some that are not for them."""
    access = installation.control(widget_origins=(ORIGIN,))
    app = FastAPI(docs_url=None, redoc_url=None)

    def who(request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        return {"name": caller.name, "may": sorted(caller.permissions), "source": request.headers.get("x-feedbackloop-source")}

    for method, path in [*ROUTES, ("POST", "/v1/feedback/bulk"), ("GET", "/v1/pairs")]:
        app.add_api_route(path, who, methods=[method], dependencies=[needs("feedback")])
    app.add_api_route("/v1/export", who, dependencies=[needs("export")])
    app.include_router(token_router(Intake(installation.bus, KEY), access), prefix="/v1")
    answer_errors(app, KINDS)
    app.add_middleware(AccessGuard, access=access)
    app.add_middleware(WidgetPreflights, origins=access.tokens.origins)
    app.add_middleware(RequestGuard, origins_of_paths=dict.fromkeys(PATHS, access.tokens.origins))
    access.start()
    try:
        client = TestClient(app, "http://127.0.0.1")
        assert access.check is not None
        follower = access.check.follower
        until(lambda: follower.why_not_ready() is None)
        yield client
    finally:
        access.stop()


def minted(client: TestClient, key: dict[str, str], **body: Any) -> Any:
    return client.post("/v1/widget-tokens", headers=key, json={"recruiter": "Ana", "origin": ORIGIN} | body)


def token(client: TestClient, key: dict[str, str], **body: Any) -> dict[str, str]:
    answer = minted(client, key, **body)
    assert answer.status_code == 200, answer.text
    return bearer(answer.json()["token"])


def judge(client: TestClient, headers: dict[str, str]) -> tuple[int, str | None]:
    answer = client.post("/v1/judgments", headers=headers, json={})
    return answer.status_code, None if answer.is_success else answer.json()["error"]["code"]


def test_a_token_speaks_for_one_recruiter_on_the_routes_of_the_elements_only(installation: Installation) -> None:
    key = installation.key("feedback", "read")
    with running(installation) as client:
        answer = minted(client, key)
        assert answer.json().keys() == {"token", "recruiter", "expires_in"}
        assert (answer.json()["recruiter"], answer.json()["expires_in"]) == ("Ana", 900)
        sent = bearer(answer.json()["token"]) | FROM_PAGE
        for method, path in ROUTES:
            found = client.request(method, path, headers=sent | {"X-FeedbackLoop-Source": "simulation"}, json={})
            assert found.json() == {"name": f"widget:{pseudonym(KEY, 'recruiter', 'ana')}", "may": ["feedback"], "source": None}
            assert found.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert "Access-Control-Allow-Credentials" not in found.headers
        own = bearer(answer.json()["token"])  # not from a page: nothing but the token says that it is a widget's
        refused = [
            ("GET", "/v1/export"), ("POST", "/v1/feedback/bulk"), ("GET", "/v1/pairs"), ("POST", "/v1/widget-tokens"),
            ("HEAD", "/v1/queue"), ("GET", "/v1/queue/"),
            ("GET", "//v1/queue"), ("GET", "/v1/judgments"), ("GET", "/openapi.json"), ("GET", "/"),
        ]  # fmt: skip
        for method, path in refused:
            assert client.request(method, f"http://127.0.0.1{path}", headers=own, json={}).status_code == 403, path


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/export", 403), ("/v1/queue/", 403), ("/openapi.json", 403), ("/v1/widget-tokens", 403), ("/v1/queue", 200)]
)
def test_a_page_of_a_listed_origin_reads_nothing_but_the_routes_of_the_elements(installation: Installation, path: str, status: int) -> None:
    key = installation.key("feedback", "read")
    with running(installation) as client:
        found = client.get(path, headers=token(client, key) | FROM_PAGE)
        assert (found.status_code, "Access-Control-Allow-Origin" in found.headers) == (status, status == 200)


def test_a_page_of_a_listed_origin_needs_a_token_and_no_key_does(installation: Installation) -> None:
    key = installation.key("feedback", "read", "admin")
    with running(installation) as client:
        for headers in (key, {}):
            answer = client.get("/v1/queue", headers=headers | FROM_PAGE)
            assert answer.status_code == 401
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN  # the element may read why
        assert judge(client, key | FROM_PAGE) == (401, "missing_widget_token")


def test_a_token_is_for_pages_of_its_origin(installation: Installation) -> None:
    key = installation.key("feedback")
    with running(installation) as client:
        sent = token(client, key)
        assert judge(client, sent | {"Origin": ORIGIN.upper()})[0] == 200
        assert judge(client, sent | {"Origin": OTHER}) == (403, "origin_not_allowed")
        assert judge(client, sent | {"Origin": "http://127.0.0.1"}) == (403, "origin_not_allowed")
        assert judge(client, sent | {"Origin": "null"}) == (403, "origin_not_allowed")
        assert judge(client, sent)[0] == 200  # no page: a token binds browsers only


@pytest.mark.parametrize(("method", "path"), sorted(ROUTES))
def test_preflights_are_answered_for_listed_origins_and_the_routes_of_the_elements(
    installation: Installation, method: str, path: str
) -> None:
    asked = FROM_PAGE | {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "authorization,content-type"}
    with running(installation) as client:
        answer = client.options(path, headers=asked)
        assert answer.status_code == 204
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer.headers["Access-Control-Allow-Methods"] == method
        assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        for elsewhere, headers in ((path, asked | {"Origin": OTHER}), ("/v1/export", asked), (f"{path}/", asked)):
            refused = client.options(elsewhere, headers=headers)
            assert refused.status_code == 403
            assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.parametrize(("later", "status"), [(14, 200), (16, 401)])
def test_a_token_ends_after_a_quarter_of_an_hour(installation: Installation, later: int, status: int) -> None:
    key = installation.key("feedback")
    with running(installation) as client:
        sent = token(client, key)
        installation.ahead = timedelta(minutes=later)
        assert judge(client, sent)[0] == status


@pytest.mark.parametrize(("minutes", "status"), [(-20, 401), (-10, 200), (10, 200), (20, 401)])
def test_the_clock_of_who_made_the_token_may_be_ten_minutes_off(installation: Installation, minutes: int, status: int) -> None:
    key = installation.key("feedback")
    with running(installation) as client:
        installation.ahead = timedelta(minutes=minutes)
        sent = token(client, key)
        installation.ahead = timedelta()
        answer = client.get("/v1/queue", headers=sent)
        assert answer.status_code == status
        assert status == 200 or "set the clocks" in answer.json()["error"]["message"]


def test_a_token_ends_with_the_key_it_was_made_with_also_when_the_key_is_rotated(installation: Installation) -> None:
    key = installation.key("feedback")
    with running(installation) as client:
        sent = token(client, key)
        assert judge(client, sent)[0] == 200
        installation.changes.rotate("product", timedelta())
        until(lambda: judge(client, sent) == (401, "invalid_api_key"), seconds=5)


def test_a_token_that_was_altered_or_made_elsewhere_is_refused(installation: Installation) -> None:
    key = installation.key("feedback")
    with running(installation) as client:
        text = token(client, key)["Authorization"].removeprefix("Bearer fbw_")
        claims, _, proof = text.partition(".")
        raw = base64.urlsafe_b64decode(claims + "==").replace(pseudonym(KEY, "recruiter", "ana").encode(), b"r-0123456789abcdef")
        altered = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        stranger = WidgetTokens(b"another key", [ORIGIN]).made("r-0", ORIGIN, None)
        without_key = WidgetTokens(KEY, [ORIGIN]).made("r-0", ORIGIN, None)  # as open mode makes them
        unlisted = WidgetTokens(KEY, [OTHER]).made("r-0", OTHER, None)
        for sent in (f"fbw_{altered}.{proof}", f"fbw_{claims}.", f"fbw_{claims}", "fbw_", "fbw_ä.ä", stranger, without_key):
            assert judge(client, {b"Authorization": f"Bearer {sent}".encode()}) == (401, "invalid_api_key"), sent  # type: ignore[dict-item]
        assert judge(client, bearer(unlisted)) == (403, "origin_not_allowed")


def test_a_token_for_a_pair_judges_and_leases_nothing(installation: Installation) -> None:
    key = installation.key("feedback")
    with running(installation) as client:
        sent = token(client, key, pair_id=PAIR)
        assert judge(client, sent)[0] == 200
        assert client.get("/v1/queue", headers=sent).status_code == 403


def test_a_recruiter_who_was_removed_gets_no_token_and_one_that_they_have_ends(installation: Installation) -> None:
    recruiter = pseudonym(KEY, "recruiter", "ana")
    installation.add("ana", "recruiter", recruiter=recruiter)
    key = installation.key("feedback")
    with running(installation) as client:
        sent = token(client, key)
        assert judge(client, sent)[0] == 200
        installation.people.remove("ana")
        until(lambda: judge(client, sent) == (403, "recruiter_removed"), seconds=5)
        refused = minted(client, key)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "recruiter_removed")
        assert "add them again" in refused.json()["error"]["message"]
        assert minted(client, key, recruiter="Ben").status_code == 200, "whom nobody has added: the product knows them"
        installation.add("anna", "recruiter", recruiter=recruiter)
        until(lambda: minted(client, key).status_code == 200, seconds=5)


@pytest.mark.parametrize(
    ("scopes", "body", "status", "said"),
    [
        (("feedback",), {"origin": OTHER}, 400, "widget_origins"),
        (("feedback",), {"origin": f"{ORIGIN}/page"}, 400, "origin"),
        (("feedback",), {"recruiter": "Ben"}, 403, "recruiter"),
        (("chat",), {}, 403, "permission feedback"),
        ((), {}, 401, "API key"),
    ],
)
def test_who_gets_no_token(installation: Installation, scopes: tuple[str, ...], body: dict[str, str], status: int, said: str) -> None:
    key = installation.key(*scopes, recruiters=[pseudonym(KEY, "recruiter", "ana")]) if scopes else {}
    with running(installation) as client:
        answer = minted(client, key, **body)
        assert (answer.status_code, said in answer.text) == (status, True), answer.text
