"""Sign-in by an identity provider: OpenID Connect Core 1.0, the code flow, with PKCE (RFC 7636).

The provider says who somebody is by its issuer and their subject, which never change hands, as addresses of e-mail may. The ID token comes
from the provider itself, over TLS, and answers one attempt of one browser.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from access.people.oidc_settings import OIDCSettings, is_safe
from access.refused import CallerRefused

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")  # no shared secret
LEEWAY = 600  # seconds that the provider's clock may be off
TIMEOUT = 10.0  # seconds for each request to the provider
KEYS_READ_AGAIN = 60.0  # seconds: whoever invents ids of keys must not have them read all the time
DESCRIPTION_READ_AGAIN = 3_600.0  # seconds
ATTEMPT_LASTS = 600.0  # seconds
MOST_ATTEMPTS = 1_000  # that are kept; the oldest go first


class Identified(NamedTuple):
    """Who signed in, as the provider says: ``subject`` is their id there, ``claims`` what the ID token says."""

    subject: str
    claims: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What others see."""
        found = next((each for key in ("name", "preferred_username") if isinstance(each := self.claims.get(key), str)), "")
        return " ".join("".join(c if c.isprintable() else " " for c in found).split())[:200] or self.subject

    def values(self, claim: str) -> list[str]:
        """The texts of a claim that holds one or several."""
        found = self.claims.get(claim)
        return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, str) and each]


@dataclass(frozen=True)
class Attempt:
    """A browser that was sent to the provider: what it has to bring back, and where it wanted to go."""

    state: str
    nonce: str
    verifier: str
    redirect: str
    next: str
    until: float


class Attempts:
    """Those that are under way, in memory; each comes back at most once, to the browser that has its text."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open: dict[str, Attempt] = {}

    def begin(self, redirect: str, following: str) -> tuple[str, Attempt]:
        """A new attempt, and its text for the browser's cookie."""
        state, nonce, verifier, text = (secrets.token_urlsafe(32) for _ in range(4))
        attempt = Attempt(state, nonce, verifier, redirect, following, self._clock() + ATTEMPT_LASTS)
        while len(self._open) >= MOST_ATTEMPTS:
            del self._open[next(iter(self._open))]
        self._open[text] = attempt
        return text, attempt

    def take(self, text: str, state: str) -> Attempt:
        """The attempt with this text, whose answer has this ``state``; raises :class:`CallerRefused` if there is none."""
        attempt = self._open.pop(text, None)
        if attempt is None or attempt.until < self._clock() or not hmac.compare_digest(attempt.state.encode(), state.encode()):
            raise CallerRefused(400, "sign_in_not_begun", "this sign-in was not begun here, or took too long; try again")
        return attempt


class Provider:
    """The provider of these settings. Its description and keys are read when they are first needed."""

    def __init__(self, settings: OIDCSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self._clock = settings, clock
        self._lock = asyncio.Lock()
        self._described: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def identity(self, key: bytes, subject: str) -> str:
        """How the log names this subject of this provider: an HMAC under the installation's ``key``."""
        return identity_of(key, self.settings.issuer, subject)

    async def address(self, attempt: Attempt) -> str:
        """Where the browser is sent to sign in; raises :class:`CallerRefused` if the provider is away."""
        endpoint = (await self._description())["authorization_endpoint"]
        async with self._client() as client:
            url, _ = client.create_authorization_url(
                endpoint,
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
                redirect_uri=attempt.redirect,
                **self._asked_of_the_sign_in(),
            )
        return str(url)

    async def person(self, attempt: Attempt, answer: Mapping[str, str]) -> Identified:
        """Who has signed in, by the query with which the provider sent the browser back.

        Raises
        ------
        CallerRefused
            The provider refused, is away, or its answer is not for this attempt.
        """
        if answer.get("iss", self.settings.issuer) != self.settings.issuer:  # RFC 9207
            raise _refused("the answer came from another provider")
        if "error" in answer:
            raise _refused(f"the identity provider refused ({answer['error'][:100]})")
        description = await self._description()
        try:
            async with self._client(description) as client:
                token = await client.fetch_token(
                    description["token_endpoint"],
                    code=answer.get("code", ""),
                    code_verifier=attempt.verifier,
                    redirect_uri=attempt.redirect,
                    grant_type="authorization_code",
                )
        except OAuthError as error:
            raise _refused(f"the identity provider did not take the code ({error.error})") from error
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away(error) from error
        return await self._verified(token, attempt)

    async def _verified(self, token: Mapping[str, Any], attempt: Attempt) -> Identified:
        text = token.get("id_token")
        if not isinstance(text, str):
            raise _refused("the identity provider sent no ID token")
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        try:
            try:
                decoded = jwt.decode(text, await self._key_set(), registry=registry)
            except InvalidKeyIdError:
                decoded = jwt.decode(text, await self._key_set(again=True), registry=registry)
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": self.settings.issuer},
                    "aud": {"essential": True, "value": self.settings.client_id},
                    "sub": {"essential": True},
                },
                {"nonce": attempt.nonce, "client_id": self.settings.client_id, "access_token": token.get("access_token")},
            )
            claims.validate(leeway=LEEWAY)
        except (JoseError, OAuthError, ValueError, TypeError) as error:
            log.warning("an ID token of %s was refused: %s", self.settings.issuer, error)
            raise _refused("the ID token of the identity provider is not valid") from error
        subject = claims["sub"]
        if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
            raise _refused("the ID token of the identity provider names nobody")
        self._check_sign_in(claims)
        return Identified(subject, dict(claims))

    def _asked_of_the_sign_in(self) -> dict[str, str]:
        asked = {} if self.settings.max_age is None else {"max_age": str(self.settings.max_age)}
        return asked | ({"acr_values": " ".join(self.settings.acr_values)} if self.settings.acr_values else {})

    def _check_sign_in(self, claims: Mapping[str, Any]) -> None:
        """Refuse a sign-in of another kind, or longer ago, than the settings ask for: providers may ignore what they are asked."""
        kinds, max_age = self.settings.acr_values, self.settings.max_age
        if kinds and claims.get("acr") not in kinds:
            raise _refused(f"the identity provider did not confirm the kind of sign-in that is needed here ({' or '.join(kinds)})")
        if max_age is not None:
            signed_in = claims.get("auth_time")
            if not isinstance(signed_in, int | float) or not -LEEWAY <= time.time() - signed_in <= max_age + LEEWAY:
                raise _refused("the sign-in at the identity provider was too long ago")

    async def _description(self) -> dict[str, Any]:
        async with self._lock:
            if self._described is None or self._clock() >= self._described[0] + DESCRIPTION_READ_AGAIN:
                found = await self._read(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self.settings.issuer:
                    raise self._away(ValueError(f"it calls itself {found.get('issuer')!r}; set [oidc] issuer to the provider's own name"))
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    if not isinstance(found.get(name), str) or not is_safe(found[name]):
                        raise self._away(ValueError(f"its description has no {name} with https://"))
                self._described = self._clock(), found
            return self._described[1]

    async def _key_set(self, *, again: bool = False) -> KeySet:
        address = (await self._description())["jwks_uri"]
        async with self._lock:
            if self._keys is None or (again and self._clock() >= self._keys[0] + KEYS_READ_AGAIN):
                found = await self._read(address)
                try:
                    self._keys = self._clock(), KeySet.import_key_set(found)  # type: ignore[arg-type]
                except (JoseError, ValueError, TypeError, KeyError) as error:
                    raise self._away(error) from error
            return self._keys[1]

    async def _read(self, address: str) -> dict[str, Any]:
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT) as client:
                answer = await client.get(address)
                answer.raise_for_status()
                found = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise self._away(error) from error
        if not isinstance(found, dict):
            raise self._away(ValueError(f"{address} holds no object"))
        return found

    def _client(self, description: Mapping[str, Any] | None = None) -> AsyncOAuth2Client:
        secret = self.settings.client_secret.get_secret_value()
        methods = (description or {}).get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "none" if not secret else "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        return AsyncOAuth2Client(
            self.settings.client_id,
            secret or None,
            scope=" ".join(dict.fromkeys(("openid", *self.settings.scopes))),
            code_challenge_method="S256",
            token_endpoint_auth_method=method,
            timeout=TIMEOUT,
        )

    def _away(self, error: Exception) -> CallerRefused:
        log.warning("the identity provider %s cannot be used: %s", self.settings.issuer, str(error) or type(error).__name__)
        message = "the identity provider cannot be asked right now; sign in with a local account, or try again"
        return CallerRefused(503, "provider_away", message, retry_after=10)


def identity_of(key: bytes, issuer: str, subject: str) -> str:
    """``i-`` and 32 hex digits: who a provider's subject is, as far as the log tells."""
    named = "\x1f".join(("identity", issuer, subject)).encode()
    return f"i-{hmac.new(key, named, hashlib.sha256).hexdigest()[:32]}"


def _refused(message: str) -> CallerRefused:
    return CallerRefused(401, "sign_in_refused", f"{message}; try again")
