"""Settings of the serving process."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from storage.places import FullPath
from storage.settings import section


@section("serving")
class ServingSettings(BaseModel):
    """The section ``[serving]``.

    Attributes
    ----------
    host, port : where the API listens; loopback only, since there is no authentication
    upstream : kind of upstream server, a row of ``serving.models.table``
    upstream_url : base URL of an OpenAI-compatible server, with ``/v1``; if empty, the configured model runs in this process
    upstream_key, upstream_model : its API key (put it into ``.env``) and the model to request
    upstream_timeout : read timeout of the upstream, seconds
    capacity : maximum batch size, in replies
    most_waiting : maximum queue length; beyond it 503
    threads : torch threads; 1 by default, since processes share the machine's cores
    reward_model : folder of a reward model that `feedbackloop train --phase reward` wrote, for ``POST /v1/rerank`` and ``best_of``
    best_of : replies that are drawn for each answer, of which the reward model's best is sent; 1 sends the first
    pairing_candidates : second responses that are drawn, of which the online head chooses one worth judging; 1 takes the first
    max_tokens : maximum tokens of a reply if the request does not set it
    pairing_share : fraction of replies that get a second response
    pairing_waiting : maximum number of second responses outstanding
    pairing_draws : attempts at a second response that differs from the first
    pairing_temperature : minimum temperature of second responses
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
    reward_model: FullPath | None = None
    best_of: Annotated[int, Field(ge=1, le=64)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    pairing_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    pairing_waiting: Annotated[int, Field(ge=0)] = 1000
    pairing_draws: Annotated[int, Field(ge=1)] = 4
    pairing_temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    pairing_candidates: Annotated[int, Field(ge=1, le=16)] = 1

    @model_validator(mode="after")
    def _best_needs_a_judge(self) -> "ServingSettings":
        if self.best_of > 1 and self.reward_model is None:
            raise ValueError("best_of: a reward model has to choose: set reward_model to the folder of one")
        return self
