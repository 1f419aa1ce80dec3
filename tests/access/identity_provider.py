"""An identity provider on loopback: OpenID Connect's code flow with PKCE, a page that believes everybody, and mistakes that it may make."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from html import escape
from typing import Any
from urllib.parse import parse_qsl, unquote

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey, RSAKey

from tests.serving.conftest import run_app

CLIENT, SECRET = "the hub", "the hub's secret"


@cache
def signing_key(number: int) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": f"key {number}"})


@dataclass
class IdentityProvider:
    """``claims`` are those of each subject; ``wrong`` replaces claims of every ID token, and ``away`` answers 503 to everything."""

    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    algorithm: str = "RS256"
    away: bool = False
    issuer: str = ""
    keys: list[RSAKey] = field(default_factory=lambda: [signing_key(0)])
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def rotate(self) -> None:
        """Sign with another key from now on."""
        self.keys.append(signing_key(len(self.keys)))

    def id_token(self, subject: str, nonce: str) -> str:
        moment = int(time.time())
        claims = {"iss": self.issuer, "sub": subject, "aud": CLIENT, "iat": moment, "exp": moment + 300, "nonce": nonce}
        claims |= self.claims.get(subject, {}) | self.wrong
        for name in self.left_out:
            del claims[name]
        header = {"alg": self.algorithm, "kid": self.keys[-1].kid}
        if self.algorithm == "none":
            parts = (base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b'{"alg":"none"}', json.dumps(claims).encode()))
            return b".".join((*parts, b"")).decode()
        key = OctKey.import_key(self.keys[-1].as_pem(private=False)) if self.algorithm == "HS256" else self.keys[-1]
        return jwt.encode(header, claims, key, algorithms=[self.algorithm])

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def noted(request: Request, call_next: Any) -> Response:
            self.asked.append(request.url.path)
            return Response(status_code=503) if self.away else await call_next(request)

        @app.get("/.well-known/openid-configuration")
        def description() -> dict[str, Any]:
            ways = {f"{name}_endpoint": f"{self.issuer}/{name}" for name in ("authorization", "token")}
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", **ways}

        @app.get("/keys")
        def keys() -> Any:
            return KeySet(list(self.keys)).as_dict(private=False)

        @app.get("/authorization")
        def page(request: Request) -> HTMLResponse:
            asked = request.query_params
            assert asked["response_type"] == "code"
            assert asked["code_challenge_method"] == "S256"
            assert "openid" in asked["scope"].split()
            hidden = "".join(f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in asked.items())
            return HTMLResponse(f'<form method="post">{hidden}<input name="subject" id="subject"><button>Sign in</button></form>')

        @app.post("/authorization")
        async def signed_in(request: Request) -> RedirectResponse:
            asked = await form(request)
            assert asked["client_id"] == CLIENT
            back = f"{asked['redirect_uri']}?state={asked['state']}"
            if not asked.get("subject"):
                return RedirectResponse(f"{back}&error=access_denied", 303)
            code = secrets.token_urlsafe(8)
            self.codes[code] = asked
            return RedirectResponse(f"{back}&code={code}", 303)

        @app.post("/token")
        async def token(request: Request) -> JSONResponse:
            given = await form(request)
            asked, code_verifier, redirect_uri = self.codes.pop(given["code"], None), given["code_verifier"], given["redirect_uri"]
            challenge = base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()
            sent = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
            known = unquote(sent) == f"{CLIENT}:{SECRET}"
            if asked is None or not known or redirect_uri != asked["redirect_uri"] or challenge != asked["code_challenge"]:
                return JSONResponse({"error": "invalid_grant"}, 400)
            text = self.id_token(asked["subject"], asked["nonce"])
            return JSONResponse({"access_token": "a", "token_type": "Bearer", "id_token": text})

        return app


async def form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode()))


@contextmanager
def identity_provider(claims: dict[str, dict[str, Any]]) -> Iterator[IdentityProvider]:
    provider = IdentityProvider(claims)
    with run_app(provider.app()) as url:
        provider.issuer = url
        yield provider
