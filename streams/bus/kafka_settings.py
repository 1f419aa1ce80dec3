"""Connection settings for Kafka: the section ``[kafka]``, used by kafka-python and by Faust."""

import socket
import ssl
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from storage.errors import ConfigurationError
from storage.places import full_place
from storage.settings import Settings, section
from storage.texts.keys import TextKeys, opens_text_keys

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
        raise ConfigurationError("bus: do not put user and password into the address; set username and password in [kafka]")
    for server in servers.split(","):
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ConfigurationError(f"bus = {url!r}: {server!r} is not a host and a port; name the brokers, as in kafka://localhost:9092")
    return servers


@opens_text_keys(SCHEME)
def text_keys_on_kafka(settings: Settings) -> TextKeys:
    """The keys of sealed texts for a single task, with a connection of its own."""
    from streams.bus.open import bus_of  # imports the client
    from streams.bus.text_keys import TopicTextKeys
    from streams.pseudonyms import pseudonym_key

    return TopicTextKeys(bus_of(settings), pseudonym_key(settings.common), owns_bus=True)


@section("kafka")
class KafkaSettings(BaseModel):
    """TLS, SASL, topic replication and the size of the outbox.

    Attributes
    ----------
    security, sasl_mechanism, username, password : security protocol and credentials; put the password into ``.env``
    cafile, certfile, keyfile : PEM files for TLS; an empty ``cafile`` means the system's certificate authorities
    outbox_mb : how much serving and the hub's intake buffer on disk while Kafka is unreachable, before they answer 503; the last fifth is
        reserved for chat
    replication, min_insync : replicas of each partition, and how many of them must have a record before it counts as published
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
        """Keyword arguments for kafka-python's clients.

        Raises
        ------
        ConfigurationError
            A TLS file cannot be read.
        """
        self._context()
        options: dict[str, Any] = {
            "bootstrap_servers": servers.split(","),
            "security_protocol": self.security,
            "client_id": "feedbackloop",
            "reconnect_backoff_max_ms": 1_000,  # the default of 30 s would block everything else for as long
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
        """The same settings for Faust, which uses aiokafka."""
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
        """The TLS error of a handshake with the first server, or None; the clients only report that they could not connect."""
        context = self._context()
        if context is None:
            return None
        host, _, port = servers.split(",")[0].rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5) as plain, context.wrap_socket(plain, server_hostname=host):
                return None
        except ssl.SSLError as error:
            return str(error)
        except OSError:  # not reachable: not a TLS problem
            return None

    @property
    def _is_encrypted(self) -> bool:
        return "SSL" in self.security

    def _context(self) -> ssl.SSLContext | None:
        if not self._is_encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.cafile or None)
        except OSError as error:  # includes ssl.SSLError
            raise ConfigurationError(
                f"[kafka] cafile = {self.cafile}: {error.strerror}; use a PEM file of certificate authorities"
            ) from error
        if self.certfile:
            try:
                context.load_cert_chain(self.certfile, self.keyfile or None)
            except OSError as error:
                files = f"certfile = {self.certfile}, keyfile = {self.keyfile}"
                raise ConfigurationError(
                    f"[kafka] {files}: {error.strerror}; use a PEM file of a certificate and one of its key"
                ) from error
        return context
