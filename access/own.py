"""Tokens by which the service's own processes and its command line call each other: short-lived, and signed by the service's key.

Whoever can read that key is the operator. Serving's replicas cannot: they only verify.
"""

import ssl
import threading
from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

from access.caller import Caller
from access.change_log import TrustedKeys
from access.permissions import EVERYTHING
from access.refused import invalid_key
from access.settings import AccessSettings
from access.token_text import parts_of, token_text
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.attestation.signatures import is_signed, signed
from storage.events import Moment, Sha256, now
from storage.settings import Settings
from streams.addresses import url_of
from streams.http.visible_text import one_line

PREFIX = "fbt_"
PURPOSE = "own call"
LIFETIME = timedelta(seconds=60)


class Claims(BaseModel):
    """What a token says: the process that calls, the one that it calls, and until when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    caller: str
    audience: str
    expires_at: Moment
    signed_by: Sha256


class OwnToken(httpx.Auth):
    """Sends a token with each request of the process ``caller`` to the process ``audience``."""

    def __init__(self, keys: Keys, caller: str, audience: str, clock: Callable[[], datetime] = now) -> None:
        self._keys, self._caller, self._audience, self._clock = keys, caller, audience, clock
        self._guard = threading.Lock()
        self._token, self._renew_at = "", datetime.min.replace(tzinfo=clock().tzinfo)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self.text()}"
        yield request

    def text(self) -> str:
        """A token that is valid for at least half a minute; raises :class:`AttestationError` if the service's key cannot be used."""
        with self._guard:
            moment = self._clock()
            if moment >= self._renew_at:
                key = self._keys.signing()[0]
                claims = (
                    Claims(caller=self._caller, audience=self._audience, expires_at=moment + LIFETIME, signed_by=key.public.keyid)
                    .model_dump_json()
                    .encode()
                )
                self._token = token_text(PREFIX, claims, signed(key, PURPOSE, claims))
                self._renew_at = moment + LIFETIME / 2
            return self._token


def own_caller(token: str, audience: str, trusted: TrustedKeys, moment: datetime) -> Caller:
    """Who calls with the token; raises :class:`CallerRefused` if it is not valid for the process ``audience`` at that moment."""
    try:
        raw, proof = parts_of(PREFIX, token)
        claims = Claims.model_validate_json(raw)
    except ValueError as error:
        raise invalid_key("this is no token of the service's own processes") from error
    key = trusted.find(claims.signed_by)
    if key is None or not is_signed(key, PURPOSE, raw, proof):
        raise invalid_key("no trusted key of the service has signed this token; list the hub's public key in [attestation] trusted")
    if claims.audience != audience:
        raise invalid_key(f"this token is for {one_line(claims.audience)}, not for {audience}")
    if not moment < claims.expires_at <= moment + LIFETIME:
        raise invalid_key(f"this token is valid until {claims.expires_at:%H:%M:%S} UTC, and here it is {moment:%H:%M:%S}; set the clocks")
    return Caller("own", f"own:{claims.caller}", EVERYTHING)


def own_client(settings: Settings, caller: str, process: str, *, url: str = "", timeout: float = 2.0) -> httpx.Client:
    """A client by which the process ``caller`` calls ``process``, at ``url`` or where the settings say.

    It uses no proxy of the environment, and sends tokens in the required mode.
    """
    access = settings.section("access", AccessSettings)
    keys = Keys(settings.common.home, settings.section("attestation", AttestationSettings))
    more: dict[str, Any] = {"auth": OwnToken(keys, caller, process)} if access.required else {}
    verify = _certificates(url, access)
    return httpx.Client(base_url=url or url_of(settings, process), timeout=timeout, trust_env=False, verify=verify, **more)


def _certificates(url: str, access: AccessSettings) -> ssl.SSLContext | bool:
    """What is trusted at ``url``; where our own settings say the address, their certificate and no other, whatever name is in it."""
    if access.tls_certificate is None or url:
        return url.startswith("https:")  # loading the certificates of all authorities takes a while
    own = ssl.create_default_context(cafile=str(access.tls_certificate))
    own.check_hostname = False
    own.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return own
