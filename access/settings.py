"""Settings of access: the section ``[access]``."""

import ssl
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.errors import ConfigurationError
from storage.places import FullPath
from storage.settings import Settings, section
from streams.http.fields import WebOrigin

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2, the oldest version that Python speaks; those of TLS 1.3 are not up to us


@section("access")
class AccessSettings(BaseModel):
    """The section ``[access]``.

    Attributes
    ----------
    mode : ``open``: everybody on this machine may do everything, and nobody else can reach it; ``required``: each request needs an API key
        or a session.
        Open if it is not set, as long as no key exists
    requests_per_minute : maximum number of requests per minute with one key or by one person, or by nobody who is known from one address
    session_hours : how long who signs in stays so
    idle_minutes : after how long without a request of theirs they do not any more; an open page alone makes none
    tls_certificate, tls_key : PEM files by which serving and the hub speak HTTPS
    behind_proxy : addresses or networks of the reverse proxies whose ``X-Forwarded-For`` is believed, in required mode
    widget_origins : origins such as ``https://ats.example.com`` whose pages may have the elements of ``/widget.js``, with widget tokens
    proxy_authenticates : in open mode, requests may come through a reverse proxy, which lets in nobody who may not do everything
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["open", "required"] | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] = 6_000
    session_hours: Annotated[float, Field(gt=0, le=720)] = 12
    idle_minutes: Annotated[float, Field(ge=2)] = 120
    tls_certificate: FullPath | None = None
    tls_key: FullPath | None = None
    behind_proxy: tuple[IPv4Network | IPv6Network, ...] = ()
    widget_origins: tuple[WebOrigin, ...] = ()
    proxy_authenticates: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key: set both or neither")
        if self.behind_proxy and not self.required:
            raise ValueError('behind_proxy: it is for mode = "required"; in open mode the proxy has to authenticate (proxy_authenticates)')
        if self.required and self.proxy_authenticates:
            raise ValueError(
                "proxy_authenticates: it is for open mode; in required mode callers need a key whether or not a proxy let them in"
            )
        return self

    @property
    def required(self) -> bool:
        return self.mode == "required"

    @property
    def exposed(self) -> bool:
        """Whether a process may listen beyond this machine: keys are asked for, and do not travel in plain text."""
        return self.required and (self.tls_certificate is not None or bool(self.behind_proxy))

    @property
    def tls(self) -> dict[str, str]:
        """Options of uvicorn."""
        if self.tls_certificate is None or self.tls_key is None:
            return {}
        return {"ssl_certfile": str(self.tls_certificate), "ssl_keyfile": str(self.tls_key), "ssl_ciphers": CIPHERS}

    @classmethod
    def of(cls, settings: Settings, path_prefix: str = "") -> Self:
        """The section, for a process that a reverse proxy publishes under ``path_prefix``.

        Raises
        ------
        ConfigurationError
            Other settings prepare for a reverse proxy, and nobody authenticates; or the files for TLS cannot be used.
        """
        access = settings.section("access", cls)
        if access.tls_certificate is not None and access.tls_key is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(access.tls_certificate, access.tls_key)
            except OSError as error:  # ssl's errors too
                raise ConfigurationError(
                    f"[access] tls_certificate and tls_key: {error.strerror or error}; set them to a certificate in PEM and its private key"
                ) from error
        prepared = {"allowed_hosts": settings.common.allowed_hosts, "[hub] path_prefix": path_prefix}
        for name, value in prepared.items():
            if value and not access.required and not access.proxy_authenticates:
                raise ConfigurationError(
                    f"{name} is set, for a reverse proxy, and in open mode whoever that lets through may do everything: set [access] "
                    'mode = "required", or proxy_authenticates = true if it lets nobody through who has not signed in to it'
                )
        return access
