"""Settings of the servers that generate replies in place of this process."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from storage.settings import section


@section("upstream")
class UpstreamSettings(BaseModel):
    """The section ``[upstream]``: the server that answers.

    Attributes
    ----------
    kind : a row of ``serving.models.table``: ``openai`` for every server that speaks OpenAI's protocol, ``azure``, ``anthropic``
    url : base URL, with ``/v1`` where the server has it; for Azure the endpoint of the resource. If empty, the model runs in this process
    key : API key; put it into ``.env``
    model : model to request; for Azure the deployment
    api_version : of Azure
    token_field : name under which the limit of tokens is sent; if empty, the name that the client uses
    max_tokens : limit of tokens where the client sets none and the server needs one (Anthropic)
    timeout, connect_timeout : seconds to wait for the next bytes, and for a connection
    retries : attempts after a failed one, before anything of the reply has arrived
    breaker_failures, breaker_seconds : after so many failures in a row, requests are refused at once for so long
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    section: ClassVar[str] = "upstream"

    kind: str = "openai"
    url: str = ""
    key: SecretStr = SecretStr("")
    model: str = ""
    api_version: str = ""
    token_field: Literal["", "max_tokens", "max_completion_tokens"] = ""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    timeout: Annotated[float, Field(gt=0)] = 60.0
    connect_timeout: Annotated[float, Field(gt=0)] = 5.0
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    breaker_failures: Annotated[int, Field(ge=1)] = 5
    breaker_seconds: Annotated[float, Field(gt=0)] = 10.0


@section("second_upstream")
class SecondUpstreamSettings(UpstreamSettings):
    """The section ``[second_upstream]``: the server that writes second responses, with the same keys."""

    section: ClassVar[str] = "second_upstream"
