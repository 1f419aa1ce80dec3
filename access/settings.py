"""Settings of access: the section ``[access]``."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from storage.errors import ConfigurationError
from storage.settings import Settings, section


@section("access")
class AccessSettings(BaseModel):
    """The section ``[access]``.

    Attributes
    ----------
    proxy_authenticates : requests may come through a reverse proxy, which lets in nobody who may not do everything
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    proxy_authenticates: bool = False

    @classmethod
    def of(cls, settings: Settings, path_prefix: str = "") -> Self:
        """The section, for a process that a reverse proxy publishes under ``path_prefix``.

        Raises
        ------
        ConfigurationError
            Other settings prepare for a reverse proxy, and this section does not say that it authenticates.
        """
        access = settings.section("access", cls)
        prepared = {"allowed_hosts": settings.common.allowed_hosts, "[hub] path_prefix": path_prefix}
        for name, value in prepared.items():
            if value and not access.proxy_authenticates:
                raise ConfigurationError(
                    f"{name} is set, for a reverse proxy, and whoever that lets through may do everything: set [access] "
                    "proxy_authenticates = true if it lets nobody through who has not signed in to it"
                )
        return access
