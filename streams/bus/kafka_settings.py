"""How Kafka is spoken to: the section ``[kafka]``, the same for kafka-python and for Faust."""

import socket
import ssl
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from storage.errors import ConfigurationError
from storage.places import full_place
from storage.settings import section

SCHEME = "kafka://"


File = Annotated[str, BeforeValidator(full_place)]  # empty: none


def is_kafka(url: str) -> bool:
    return url.startswith(SCHEME)


def servers_of(url: str) -> str:
    """``kafka://a:9092,b:9092`` → ``a:9092,b:9092``.

    Raises
    ------
    ConfigurationError
        A server is not ``host:port``.
    """
    servers = url.removeprefix(SCHEME).rstrip("/")
    if "@" in servers:
        raise ConfigurationError("bus: user and password do not belong into the address; set username and password in [kafka]")
    for server in servers.split(","):
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigurationError(f"bus = {url!r}: {server!r} is not a host and a port; name the brokers, as in kafka://localhost:9092")
    return servers


@section("kafka")
class KafkaSettings(BaseModel):
    """TLS and SASL, and how topics are made.

    Attributes
    ----------
    security, sasl_mechanism, username, password : how the brokers are talked to; put the password into ``.env``
    cafile, certfile, keyfile : PEM files for TLS; the system's authorities where ``cafile`` is empty
    outbox_mb : how much serving and the hub's intake keep on their disk while Kafka is away, before they answer 503; the last fifth is
        for chat
    replication, min_insync : copies of each partition, and how many of them have to have an entry before it counts as published
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    cafile: File = ""
    certfile: File = ""
    keyfile: File = ""
    replication: Annotated[int, Field(ge=1)] = 1
    min_insync: Annotated[int, Field(ge=1)] = 1
    outbox_mb: Annotated[int, Field(ge=1)] = 256

    def options(self, servers: str) -> dict[str, Any]:
        """What kafka-python's clients are given.

        Raises
        ------
        ConfigurationError
            A file for TLS cannot be read.
        """
        self._context()
        options: dict[str, Any] = {
            "bootstrap_servers": servers.split(","),
            "security_protocol": self.security,
            "client_id": "feedbackloop",
            "reconnect_backoff_max_ms": 1_000,  # half a minute by default: as long as everything else would stand still
        }
        if self.security.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password.get_secret_value(),
            }
        files = {"ssl_cafile": self.cafile, "ssl_certfile": self.certfile, "ssl_keyfile": self.keyfile}
        return options | {name: path for name, path in files.items() if path and self._is_encrypted}

    def faust_credentials(self) -> Any:
        """The same for Faust, which speaks through aiokafka."""
        import faust

        context = self._context()
        if self.security.startswith("SASL"):
            return faust.SASLCredentials(
                username=self.username,
                password=self.password.get_secret_value(),
                mechanism=self.sasl_mechanism,
                ssl_context=context,
            )
        return faust.SSLCredentials(context) if context is not None else None

    def tls_complaint(self, servers: str) -> str | None:
        """What TLS finds wrong with the first of the servers; the clients only say that they could not connect."""
        context = self._context()
        if context is None:
            return None
        host, _, port = servers.split(",")[0].rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5) as plain, context.wrap_socket(plain, server_hostname=host):
                return None
        except ssl.SSLError as error:
            return str(error)
        except OSError:  # nobody is there: that is no matter of trust
            return None

    @property
    def _is_encrypted(self) -> bool:
        return "SSL" in self.security

    def _context(self) -> ssl.SSLContext | None:
        if not self._is_encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.cafile or None)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(f"[kafka] cafile = {self.cafile}: {error.strerror}; name a file of authorities in PEM") from error
        if self.certfile:
            try:
                context.load_cert_chain(self.certfile, self.keyfile or None)
            except OSError as error:
                files = f"certfile = {self.certfile}, keyfile = {self.keyfile}"
                raise ConfigurationError(f"[kafka] {files}: {error.strerror}; name a certificate and its key in PEM") from error
        return context
