"""The sections ``[processor]``, ``[trainer]`` and ``[feedback]`` (rate limits)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.settings import section


@section("processor")
class ProcessorSettings(BaseModel):
    """The section ``[processor]``: the address of its health endpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8051


@section("trainer")
class TrainerSettings(BaseModel):
    """The section ``[trainer]``.

    Attributes
    ----------
    host, port : the address of its health endpoints
    threads : torch threads of a run; 1 by default, since processes share the machine's cores
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8052
    threads: Annotated[int, Field(ge=1)] = 1


@section("feedback")
class FeedbackCaps(BaseModel):
    """The section ``[feedback]``: rate limits.

    Attributes
    ----------
    recruiters_per_pair : maximum number of recruiters who may judge one pair
    judgments_per_recruiter_and_pair : maximum number of judgments, including changes and withdrawals, of one pair by one recruiter
    judgments_per_minute : maximum number of judgments per minute from one caller, identified by its name or else its network address
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recruiters_per_pair: Annotated[int, Field(ge=1)] = 25
    judgments_per_recruiter_and_pair: Annotated[int, Field(ge=1)] = 50
    judgments_per_minute: Annotated[int, Field(ge=1)] = 30_000
