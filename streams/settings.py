"""The processor, the trainer, and how much feedback is taken: the sections ``[processor]``, ``[trainer]`` and ``[feedback]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.settings import section


@section("processor")
class ProcessorSettings(BaseModel):
    """The section ``[processor]``: where its health is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8051


@section("trainer")
class TrainerSettings(BaseModel):
    """The section ``[trainer]``: where its health is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8052


@section("feedback")
class FeedbackCaps(BaseModel):
    """The section ``[feedback]``.

    Attributes
    ----------
    recruiters_per_pair : different people whose judgment of one pair is taken
    judgments_per_recruiter_and_pair : how often one of them may judge it again, or take the judgment back
    judgments_per_minute : of one caller, by its network address
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recruiters_per_pair: Annotated[int, Field(ge=1)] = 25
    judgments_per_recruiter_and_pair: Annotated[int, Field(ge=1)] = 50
    judgments_per_minute: Annotated[int, Field(ge=1)] = 30_000
