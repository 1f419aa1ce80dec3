"""The hub: the section ``[hub]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.settings import section


@section("hub")
class HubSettings(BaseModel):
    """The section ``[hub]``.

    Attributes
    ----------
    host, port : where API and pages are served
    memory_limit, threads : what the warehouse may take
    opinions : how many recruiters judge each pair
    serving_url : the serving that is asked which version answers candidates; the one of these settings where empty
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8050
    memory_limit: str = "1GB"
    threads: Annotated[int, Field(ge=1)] = 1
    opinions: Annotated[int, Field(ge=1)] = 1
    serving_url: str = ""
