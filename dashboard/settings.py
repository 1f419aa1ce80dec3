"""Settings of the hub: the section ``[hub]``."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from storage.settings import section


@section("hub")
class HubSettings(BaseModel):
    """The section ``[hub]``.

    Attributes
    ----------
    host, port : address of the API and the pages
    path_prefix : path under which a reverse proxy publishes the hub, such as ``/feedbackloop``; the proxy strips it
        (see ``[access]``)
    memory_limit, threads : limits for DuckDB
    opinions : how many recruiters judge a pair that does not say so itself
    serving_url : address of the serving process to ask which version answers candidates; if empty, taken from ``[serving]``
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8050
    path_prefix: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._-]+)*$")] = ""
    memory_limit: str = "1GB"
    threads: Annotated[int, Field(ge=1)] = 1
    opinions: Annotated[int, Field(ge=1)] = 1
    serving_url: str = ""
