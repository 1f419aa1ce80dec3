"""A small installation in required mode: a log, the service's key, and an app with a route for each permission."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from access.caller import caller_of, needs
from access.change_log import TrustedKeys
from access.changes import AccessChanges
from access.control import AccessControl
from access.follower import AccessFollower
from access.guard import AccessGuard
from access.key_check import KeyCheck
from access.limits import RateLimits
from access.people.by_provider import ByProvider
from access.people.changes import PeopleChanges
from access.people.oidc import Provider
from access.people.oidc_settings import OIDCSettings
from access.people.roles import Person
from access.people.routes import sign_in_router
from access.people.sessions import Sessions
from access.people.sign_in import SignIn
from access.people.store import FILE, PeopleStore
from access.settings import AccessSettings
from access.widget.tokens import WidgetTokens
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.events import Event, now
from storage.events.wire import decode
from streams.bus.protocol import Bus
from streams.health import health_router
from streams.http.errors import KINDS, answer_errors
from streams.http.request_guard import RequestGuard
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus

PASSWORD = "correct horse battery"
PEOPLE_KEY = b"the key of pseudonyms"


@dataclass
class Installation:
    """``ahead`` is how far the clock of its processes is ahead of ours."""

    home: Path
    bus: Bus = field(default_factory=MemoryBus)
    ahead: timedelta = timedelta()
    oidc: OIDCSettings = field(default_factory=OIDCSettings)

    @property
    def keys(self) -> Keys:
        return Keys(self.home, AttestationSettings())

    @property
    def changes(self) -> AccessChanges:
        return AccessChanges(self.bus, self.keys)

    @cached_property
    def store(self) -> PeopleStore:
        return PeopleStore(self.home / FILE)

    @property
    def people(self) -> PeopleChanges:
        return PeopleChanges(self.changes, self.store)

    def add(self, login: str, *roles: str, name: str = "", recruiter: str = "") -> Person:
        """A person with ``PASSWORD``; without ``recruiter`` their pseudonym is ``r-`` and the login."""
        return self.people.add(login, name or login, PASSWORD, recruiter or f"r-{login}", roles)

    def clock(self) -> datetime:
        return now() + self.ahead

    def key(self, *scopes: str, name: str = "product", **more: Any) -> dict[str, str]:
        """The header of a request with a new key."""
        return bearer(self.changes.issue(name, scopes, **more)[1])

    def audit(self) -> list[Event]:
        return [decode(entry.value) for entry in everything(self.bus, "access")]

    def control(self, **settings: Any) -> AccessControl:
        access = AccessSettings(mode="required", **settings)
        tokens = WidgetTokens(PEOPLE_KEY, access.widget_origins, self.clock)
        trusted = TrustedKeys(self.keys)
        follower = AccessFollower(self.bus, self.bus, trusted.have_signed, self.home)
        limits = RateLimits(access.requests_per_minute)
        sessions = Sessions(self.store, follower, self.clock, timedelta(minutes=access.idle_minutes))
        check = KeyCheck("serving", follower, trusted, limits, tokens, sessions, self.clock)
        by_provider = ByProvider(Provider(self.oidc), self.people, follower, PEOPLE_KEY) if self.oidc.issuer else None
        return AccessControl(access, check, tokens, SignIn(sessions, timedelta(hours=access.session_hours), by_provider))

    @contextmanager
    def running(self, ready: bool = True, **settings: Any) -> Iterator[TestClient]:
        """An app that asks for keys."""
        access = self.control(**settings)
        app = FastAPI()
        app.state.access = access

        def callers_name(permission: Any) -> Callable[..., Any]:
            return app.get(f"/v1/{permission}", dependencies=[needs(permission)])

        for permission in ("chat", "feedback", "read", "export", "review", "admin", "me"):

            @callers_name(permission)
            def whoami() -> str:
                return "in"

        @app.post("/v1/write", dependencies=[needs("me")])
        def write(request: Request) -> str:
            return caller_of(request).signs_as(request.headers.get("x-as"), "reviewer") or ""

        @app.get("/v1/stream", dependencies=[needs("read")])
        async def stream() -> StreamingResponse:
            async def parts() -> AsyncIterator[bytes]:
                while True:
                    yield b"."
                    await asyncio.sleep(0.02)

            return StreamingResponse(parts())

        @app.websocket("/channel")
        async def channel(socket: WebSocket) -> None:
            await socket.accept()
            while True:
                await socket.send_text(await socket.receive_text())

        assert access.sign_in is not None
        app.include_router(sign_in_router(access.sign_in))
        app.include_router(health_router(access.checks, lambda request: caller_of(request).may("read")))
        answer_errors(app, KINDS)
        app.add_middleware(AccessGuard, access=access)
        app.add_middleware(RequestGuard)
        access.start()
        try:
            client = TestClient(app, "https://127.0.0.1", client=("198.51.100.1", 50_000))
            if ready:
                until(lambda: client.get("/readyz").status_code == 200)
            yield client
        finally:
            access.stop()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Poll until ``holds()``; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "condition not met in time"
        threading.Event().wait(0.02)
