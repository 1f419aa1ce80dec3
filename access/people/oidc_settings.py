"""Settings of sign-in by an identity provider: the section ``[oidc]``."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from storage.settings import section
from streams.health import is_loopback

Role = Literal["recruiter", "reviewer", "auditor", "admin"]


@section("oidc")
class OIDCSettings(BaseModel):
    """The section ``[oidc]``: people may sign in with an account of their company. It needs ``[access] mode = "required"``.

    Attributes
    ----------
    issuer : the provider's issuer, as in its ``/.well-known/openid-configuration``; empty without a provider
    client_id, client_secret : of the hub, as registered there with the redirect address ``https://HUB/oidc-callback``; no secret for a
        public client
    name : what the button on the sign-in page says after "Continue with"
    scopes : what is asked for; ``openid`` is always among it
    roles_claim : claim of the ID token that holds groups or roles of a person
    roles : role here by value of that claim. Whoever has one is let in, and has these roles from their next sign-in on. Without any, only
        people who were added by ``feedbackloop people add --subject`` are let in
    recruiter_claim : claim with the name by which your product calls a recruiter
    acr_values : kinds of sign-in, as the provider names them, that are asked of it: only an ID token with one of them as ``acr`` lets in.
        That is how to require a second factor
    max_age : seconds; who signed in at the provider longer ago has to do so again there
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    issuer: str = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    name: Annotated[str, Field(min_length=1, max_length=80)] = "your company's account"
    scopes: tuple[str, ...] = ("openid", "profile")
    roles_claim: Annotated[str, Field(min_length=1)] = "groups"
    roles: Mapping[str, Role] = Field(default_factory=dict)
    recruiter_claim: Annotated[str, Field(min_length=1)] = "sub"
    acr_values: tuple[Annotated[str, Field(pattern=r"^[!-~]+$")], ...] = ()
    max_age: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.issuer) != bool(self.client_id):
            raise ValueError("issuer and client_id: set both or neither")
        if self.issuer and not is_safe(self.issuer):
            raise ValueError("issuer: give its https:// address; http:// is for a provider on this machine only")
        return self


def is_safe(url: str) -> bool:
    """Whether what is sent to this address cannot be read on the way."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
