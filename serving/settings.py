"""Where and how replies are served: the section ``[serving]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from storage.settings import section


@section("serving")
class ServingSettings(BaseModel):
    """The section ``[serving]``.

    Attributes
    ----------
    host, port : where the API listens; this machine only, until there is authentication
    upstream : the kind of server that draws the replies, a row of ``serving.models.table``
    upstream_url : an OpenAI-compatible server (with its ``/v1``) that draws the replies; the model of the settings does where empty
    upstream_key, upstream_model : its key (put it into ``.env``) and the model to ask it for
    upstream_timeout : seconds it may be silent
    capacity : replies drawn together
    most_waiting : requests that may wait for a place; beyond it 503
    threads : of torch; one, since processes share the machine's cores
    max_tokens : of a reply where the request does not say
    pairing_share : the share of replies that get a second response
    pairing_waiting : second responses that may be outstanding
    pairing_draws : attempts at a second response that differs from the first
    pairing_temperature : at which second responses are drawn at least
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    upstream: str = "openai"
    upstream_url: str = ""
    upstream_key: SecretStr = SecretStr("")
    upstream_model: str = ""
    upstream_timeout: Annotated[float, Field(gt=0)] = 60.0
    capacity: Annotated[int, Field(ge=1, le=512)] = 32
    most_waiting: Annotated[int, Field(ge=1)] = 256
    threads: Annotated[int, Field(ge=1)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    pairing_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    pairing_waiting: Annotated[int, Field(ge=0)] = 1000
    pairing_draws: Annotated[int, Field(ge=1)] = 4
    pairing_temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
