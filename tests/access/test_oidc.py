"""Sign-in by an identity provider: who comes in, with which roles, and which answers of a provider are refused."""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from access.people.oidc import identity_of
from access.people.oidc_settings import OIDCSettings
from storage.errors import ConfigurationError, InputRefused
from storage.events import PersonAdded, RequestsRefused, RolesChanged, SignedIn
from storage.settings import Settings
from tests.access.identity_provider import CLIENT, SECRET, IdentityProvider, identity_provider
from tests.access.installation import PEOPLE_KEY, Installation, until
from tests.access.test_sign_in import sign_in, status

GROUPS = {"hiring": "recruiter", "ethics": "reviewer"}


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    claims: dict[str, dict[str, Any]] = {
        "s-1": {"name": "Ana Lopez", "groups": ["hiring", "chess"]},
        "s-2": {"groups": "ethics"},
        "s-3": {"groups": ["chess"]},
    }
    with identity_provider(claims) as running:
        yield running


@pytest.fixture
def installation(tmp_path: Path, provider: IdentityProvider) -> Installation:
    return Installation(tmp_path, oidc=settings(provider, roles=GROUPS))


def settings(provider: IdentityProvider, **more: Any) -> OIDCSettings:
    return OIDCSettings(issuer=provider.issuer, client_id=CLIENT, client_secret=SECRET, **more)


def begun(client: TestClient, following: str = "/rate") -> str:
    """The address to which the hub sends the browser."""
    answer = client.get("/oidc-start", params={"next": following}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def answered(address: str, subject: str) -> str:
    """The way back to the hub, after ``subject`` has signed in at the provider."""
    form = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    answer = httpx.post(address, data={**form, "subject": subject})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def signed_in(client: TestClient, subject: str) -> Any:
    """The hub's answer when ``subject`` comes back from the provider."""
    return client.get(answered(begun(client), subject), follow_redirects=False)


def refused(answer: Any) -> str:
    """What the page says about a sign-in that failed."""
    assert answer.status_code in (400, 401, 403, 503), answer.status_code
    assert "set-cookie" not in answer.headers
    found: str = answer.text.partition('role="alert">')[2].partition("</p>")[0]
    return found


def test_a_group_of_the_provider_lets_in_with_its_role(installation: Installation, provider: IdentityProvider) -> None:
    with installation.running() as client:
        assert 'href="oidc-start"' in client.get("/sign-in").text
        answer = signed_in(client, "s-1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/rate")
        assert [status(client, f"/v1/{each}") for each in ("feedback", "me", "review")] == [200, 200, 403]
        [added] = [each for each in installation.audit() if isinstance(each, PersonAdded)]
        assert added.roles == ("recruiter",)
        assert added.identity == identity_of(PEOPLE_KEY, provider.issuer, "s-1")
        assert [each.how for each in installation.audit() if isinstance(each, SignedIn)] == ["oidc"]
        account = installation.store.of(added.person)
        assert account is not None
        assert (account.name, account.password_hash) == ("Ana Lopez", "")
        assert sign_in(client, "s-1", "").status_code == 401, "an account without a password is not one with an empty password"
        client.cookies.clear()
        assert signed_in(client, "s-1").status_code == 303
    assert len([each for each in installation.audit() if isinstance(each, PersonAdded)]) == 1


def test_roles_follow_the_groups_at_the_next_sign_in(installation: Installation, provider: IdentityProvider) -> None:
    with installation.running() as client:
        signed_in(client, "s-1")
        provider.claims["s-1"]["groups"] = ["ethics"]
        assert signed_in(client, "s-1").status_code == 303
        assert [status(client, f"/v1/{each}") for each in ("feedback", "review")] == [200, 200]
        assert [each.roles for each in installation.audit() if isinstance(each, RolesChanged)] == [("reviewer",)]
        provider.claims["s-1"]["groups"] = []
        assert refused(signed_in(client, "s-1")) == "None of your groups has a role here any more; ask an admin."


def test_without_a_group_nobody_comes_in_who_was_not_added(installation: Installation, provider: IdentityProvider) -> None:
    with installation.running() as client:
        said = refused(signed_in(client, "s-3"))
        assert "people add LOGIN --subject s-3" in said
        identity = identity_of(PEOPLE_KEY, provider.issuer, "s-3")
        installation.oidc = settings(provider)
        ida = installation.people.add("ida", "Ida", None, "r-ida", ["auditor"], identity)
        with pytest.raises(InputRefused, match="somebody signs in with it already"):
            installation.people.add("other", "Other", None, "r-other", ["admin"], identity)
    with installation.running() as client:
        assert signed_in(client, "s-3").status_code == 303
        assert [status(client, f"/v1/{each}") for each in ("export", "feedback")] == [200, 403]
        assert refused(signed_in(client, "s-1")).startswith("Nobody has added you yet"), "groups mean nothing without roles for them"
    assert [each.person for each in installation.audit() if isinstance(each, SignedIn)] == [ida.person]


def test_who_was_removed_stays_out_whatever_the_provider_says(installation: Installation) -> None:
    with installation.running() as client:
        signed_in(client, "s-1")
        installation.people.remove("s-1")
        until(lambda: status(client, "/v1/me") == 401)
        assert refused(signed_in(client, "s-1")) == "You were removed; ask an admin to add you again."
        until(lambda: any(isinstance(each, RequestsRefused) for each in installation.audit()), 90)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("another issuer", {"iss": "https://elsewhere.example"}),
    ("for another client", {"aud": "another client"}),
    ("for several, and not saying for whom", {"aud": [CLIENT, "another client"]}),
    ("authorised for another client", {"azp": "another client"}),
    ("for another attempt", {"nonce": "an old one"}),
    ("expired eleven minutes ago", {"exp": int(time.time()) - 660}),
    ("of another access token", {"at_hash": "aaaaaaaaaaaaaaaaaaaaaa"}),
    ("of nobody", {"sub": ""}),
    ("of a number", {"sub": 7}),
]


@pytest.mark.parametrize(("what", "wrong"), WRONG, ids=[what for what, _ in WRONG])
def test_an_id_token_that_is_wrong_lets_nobody_in(
    installation: Installation, provider: IdentityProvider, what: str, wrong: dict[str, Any]
) -> None:
    provider.wrong = wrong
    with installation.running() as client:
        assert refused(signed_in(client, "s-1")), what
        assert status(client, "/v1/me") == 401
    assert not [each for each in installation.audit() if isinstance(each, PersonAdded)]


@pytest.mark.parametrize("left_out", ["iss", "sub", "aud", "exp", "iat", "nonce"])
def test_an_id_token_without_what_it_needs_lets_nobody_in(installation: Installation, provider: IdentityProvider, left_out: str) -> None:
    provider.left_out = (left_out,)
    with installation.running() as client:
        assert refused(signed_in(client, "s-1"))


@pytest.mark.parametrize(
    ("kind", "ago", "let_in"),
    [
        ("mfa", 60, True),
        ("phr", 3_600 + 570, True),  # its clock may be behind
        ("mfa", -570, True),
        ("pwd", 60, False),
        (None, 60, False),
        ("mfa", 3_600 + 630, False),
        ("mfa", -630, False),
        ("mfa", None, False),
    ],
)
def test_a_kind_and_an_age_of_sign_in_that_are_asked_for_have_to_be_confirmed(
    installation: Installation, provider: IdentityProvider, kind: str | None, ago: int | None, let_in: bool
) -> None:
    installation.oidc = settings(provider, roles=GROUPS, acr_values=("mfa", "phr"), max_age=3_600)
    provider.wrong = {} if kind is None else {"acr": kind}
    provider.wrong |= {} if ago is None else {"auth_time": int(time.time()) - ago}
    with installation.running() as client:
        query = parse_qs(urlsplit(begun(client)).query)
        assert (query["acr_values"], query["max_age"]) == (["mfa phr"], ["3600"])
        answer = signed_in(client, "s-1")
        if let_in:
            assert answer.status_code == 303
        else:
            assert any(said in refused(answer) for said in ("kind of sign-in that is needed here (mfa or phr)", "too long ago"))


@pytest.mark.parametrize(("site", "status_code"), [("cross-site", 200), ("same-site", 200), ("same-origin", 303), ("none", 303)])
def test_a_link_on_another_site_signs_nobody_in_who_does_not_press_the_button(
    installation: Installation, site: str, status_code: int
) -> None:
    navigated = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    with installation.running() as client:
        answer = client.get("/oidc-start", params={"next": "/rate"}, headers=navigated, follow_redirects=False)
        assert answer.status_code == status_code
        assert ("set-cookie" in answer.headers, 'href="oidc-start"' in answer.text) == (status_code == 303, status_code == 200)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_only_signatures_by_the_providers_private_key_count(installation: Installation, provider: IdentityProvider, algorithm: str) -> None:
    provider.algorithm = algorithm
    with installation.running() as client:
        assert refused(signed_in(client, "s-1"))


def test_a_key_that_the_provider_never_published_signs_nothing(installation: Installation, provider: IdentityProvider) -> None:
    with installation.running() as client:
        assert signed_in(client, "s-1").status_code == 303
        published = list(provider.keys)
        provider.rotate()
        forged = provider.keys[-1]
        provider.keys[:] = published

        def id_token(subject: str, nonce: str) -> str:
            del provider.__dict__["id_token"]
            provider.keys.append(forged)
            try:
                return provider.id_token(subject, nonce)
            finally:
                provider.keys[:] = published

        provider.__dict__["id_token"] = id_token
        assert refused(signed_in(client, "s-1"))


def test_clocks_may_be_ten_minutes_apart(installation: Installation, provider: IdentityProvider) -> None:
    with installation.running() as client:
        for off in (-570, 570):
            provider.wrong = {"iat": int(time.time()) + off, "exp": int(time.time()) + off + 30}
            assert signed_in(client, "s-1").status_code == 303


def test_a_new_key_of_the_provider_is_read_once_a_minute(installation: Installation, provider: IdentityProvider) -> None:
    with installation.running() as client:
        signed_in(client, "s-1")
        provider.rotate()
        assert refused(signed_in(client, "s-1")), "the keys were read a moment ago"
        by_provider = client.app.state.access.sign_in.by_provider  # type: ignore[attr-defined]
        by_provider.provider._clock = lambda: time.monotonic() + 61
        assert signed_in(client, "s-1").status_code == 303
        assert provider.asked.count("/keys") == 2


def test_an_answer_counts_once_and_in_the_browser_that_asked(installation: Installation) -> None:
    with installation.running() as client, installation.running() as _:
        back = answered(begun(client), "s-1")
        theirs = dict(client.cookies)
        client.cookies.clear()
        assert "was not begun here" in refused(client.get(back, follow_redirects=False)), "another browser, made to open the address"
        begun(client)
        assert "was not begun here" in refused(client.get(back, follow_redirects=False)), "its own attempt is another one"
        client.cookies.clear()
        for name, value in theirs.items():
            client.cookies.set(name, value)
        assert "was not begun here" not in client.get("/sign-in").text
        back = answered(begun(client), "s-1")
        assert client.get(back, follow_redirects=False).status_code == 303
        assert "was not begun here" in client.get(back, follow_redirects=False).text


def test_an_attempt_lasts_ten_minutes(installation: Installation) -> None:
    with installation.running() as client:
        back = answered(begun(client), "s-1")
        attempts = client.app.state.access.sign_in.by_provider.attempts  # type: ignore[attr-defined]
        attempts._clock = lambda: time.monotonic() + 601
        assert "took too long" in refused(client.get(back, follow_redirects=False))


def test_who_changes_their_mind_or_has_a_wrong_code_stays_out(installation: Installation) -> None:
    with installation.running() as client:
        assert "refused (access_denied)" in refused(signed_in(client, ""))
        state = parse_qs(urlsplit(begun(client)).query)["state"][0]
        answer = client.get("/oidc-callback", params={"state": state, "code": "guessed"}, follow_redirects=False)
        assert "did not take the code" in refused(answer)
        state = parse_qs(urlsplit(begun(client)).query)["state"][0]
        elsewhere = {"state": state, "code": "c", "iss": "https://elsewhere.example"}
        assert "another provider" in refused(client.get("/oidc-callback", params=elsewhere, follow_redirects=False))


@pytest.mark.parametrize("following", ["//evil.example/", "https://evil.example/", "/\\evil.example", "", "/\t/evil.example"])
def test_it_ends_on_a_page_of_ours(installation: Installation, following: str) -> None:
    with installation.running() as client:
        location = client.get(answered(begun(client, following), "s-1"), follow_redirects=False).headers["location"]
        assert location.startswith("/")
        assert httpx.URL("https://127.0.0.1").join(location).host == "127.0.0.1"
        assert not location.startswith(("//", "/\\"))


def test_with_the_provider_away_sessions_and_local_accounts_go_on(installation: Installation, provider: IdentityProvider) -> None:
    installation.add("ben", "recruiter")
    with installation.running() as client:
        signed_in(client, "s-1")
        back = answered(begun(client), "s-1")
        provider.away = True
        assert status(client, "/v1/me") == 200
        said = refused(client.get(back, follow_redirects=False))
        assert said == "The identity provider cannot be asked right now; sign in with a local account, or try again."
        assert sign_in(client, "ben").status_code == 204
    installation.oidc = settings(provider, roles=GROUPS)
    with installation.running() as client:  # a hub that has never read its description
        assert refused(client.get("/oidc-start", follow_redirects=False)) == said
        provider.away = False
        assert signed_in(client, "s-1").status_code == 303


def test_a_provider_that_calls_itself_otherwise_is_not_believed(installation: Installation, provider: IdentityProvider) -> None:
    installation.oidc = OIDCSettings(issuer=provider.issuer.replace("127.0.0.1", "localhost"), client_id=CLIENT)
    with installation.running() as client:
        assert refused(client.get("/oidc-start", follow_redirects=False))


def test_the_claim_with_the_recruiters_name_has_to_be_there(installation: Installation, provider: IdentityProvider) -> None:
    installation.oidc = settings(provider, roles=GROUPS, recruiter_claim="ats_name")
    provider.claims["s-2"]["ats_name"] = "ana.lopez"
    with installation.running() as client:
        assert "ats_name" in refused(signed_in(client, "s-1"))
        assert signed_in(client, "s-2").status_code == 303


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"issuer": "https://idp.example"}, "issuer and client_id: set both or neither"),
        ({"issuer": "http://idp.example", "client_id": "hub"}, "https://"),
        ({"issuer": "https://idp.example", "client_id": "hub", "roles": {"x": "owner"}}, "roles"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(tmp_path: Path, given: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        Settings.read(tmp_path, environ={}).with_values({"home": tmp_path}, oidc=given).section("oidc", OIDCSettings)


def test_a_session_lasts_as_long_as_any_other(installation: Installation) -> None:
    with installation.running() as client:
        signed_in(client, "s-1")
        installation.ahead = timedelta(hours=13)
        assert status(client, "/v1/me") == 401
