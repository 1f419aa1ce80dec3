"""Opens the topic ``access`` for the commands that change it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from storage.settings import Settings

if TYPE_CHECKING:
    from access.changes import AccessChanges


@contextmanager
def access_changes(settings: Settings) -> Iterator["AccessChanges"]:
    """The changes of access in the home of the settings."""
    from access.changes import AccessChanges
    from storage.attestation.keys import Keys
    from storage.attestation.settings import AttestationSettings
    from storage.home import open_home
    from streams.bus.open import bus_of

    open_home(settings.common.home)
    with closing(bus_of(settings)) as bus:
        yield AccessChanges(bus, Keys(settings.common.home, settings.section("attestation", AttestationSettings)))
