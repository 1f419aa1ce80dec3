"""Settings of the webhooks: the section ``[webhooks]``."""

from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from storage.settings import section
from streams.webhooks.signature import keys_of

NoticeKind = Literal["model.evaluated", "gates.failed", "model.promoted", "model.rolled_back"]
NOTICE_KINDS: tuple[NoticeKind, ...] = get_args(NoticeKind)
EndpointName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]  # it is part of a variable's name


def _http(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isascii() and url.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in url:
        raise ValueError("not an http or https URL")
    return url


class Endpoint(BaseModel):
    """A receiver of webhooks: its URL, and the kinds of notices that it gets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(_http)]
    kinds: Annotated[tuple[NoticeKind, ...], Field(min_length=1)] = NOTICE_KINDS


@section("webhooks")
class WebhookSettings(BaseModel):
    """The section ``[webhooks]``: where to send notices of new models, failed gates, promotions and rollbacks.

    Attributes
    ----------
    endpoints : receivers by name, as tables ``[webhooks.endpoints.NAME]`` with ``url`` and ``kinds`` (by default all)
    secrets : their signing secrets by name (``whsec_…``; two separated by a space during a rotation). Put them into ``.env``:
        ``FEEDBACKLOOP_WEBHOOKS__SECRETS__NAME``
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoints: dict[EndpointName, Endpoint] = Field(default_factory=dict)
    secrets: dict[EndpointName, SecretStr] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _each_endpoint_has_a_secret(self) -> "WebhookSettings":
        for name in self.endpoints:
            if name not in self.secrets:
                raise ValueError(f"secrets.{name}: missing; put FEEDBACKLOOP_WEBHOOKS__SECRETS__{name.upper()} into .env")
        for name, secret in self.secrets.items():
            if name not in self.endpoints:
                raise ValueError(f"secrets.{name}: there is no endpoint of this name")
            try:
                keys_of(secret)
            except ValueError as error:
                raise ValueError(f"secrets.{name}: {error}") from None
        return self
