"""Settings of the serving process."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from storage.places import FullPath
from storage.settings import section
from streams.http.fields import WebOrigin


@section("serving")
class ServingSettings(BaseModel):
    """The section ``[serving]``.

    Attributes
    ----------
    host, port : where the API listens; loopback only, since there is no authentication
    capacity : maximum batch size, in replies
    most_waiting : maximum number of replies that wait while ``capacity`` others are generated; beyond it 429
    threads : torch threads; 1 by default, since processes share the machine's cores
    reward_model : folder of a reward model that `feedbackloop train --phase reward` wrote, for ``POST /v1/rerank`` and ``best_of``
    best_of : replies that are drawn for each answer, of which the reward model's best is sent; 1 sends the first
    pairing_candidates : second responses that are drawn, of which the online head chooses one worth judging; 1 takes the first
    max_tokens : maximum tokens of a reply of the local model if the request does not set it
    cors_origins : origins whose pages may call this API from a browser, such as ``https://chat.example.com``
    unlogged_prompts : a request whose last message begins so is answered and not logged: a client's own requests for titles and tags
    pairing_share : fraction of replies that get a second response
    pairing_waiting : maximum number of second responses outstanding
    pairing_draws : attempts at a second response that differs from the first
    pairing_temperature : minimum temperature of second responses
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    capacity: Annotated[int, Field(ge=1, le=512)] = 32
    most_waiting: Annotated[int, Field(ge=1)] = 256
    threads: Annotated[int, Field(ge=1)] = 1
    reward_model: FullPath | None = None
    best_of: Annotated[int, Field(ge=1, le=64)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    cors_origins: tuple[WebOrigin, ...] = ()
    unlogged_prompts: tuple[Annotated[str, Field(min_length=1)], ...] = ("### Task:",)
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
