"""Who may call one process, put together from the settings."""

from datetime import timedelta
from typing import Self

from access.change_log import TrustedKeys
from access.follower import AccessFollower
from access.key_check import KeyCheck
from access.keys import AccessState
from access.limits import RateLimits
from access.memory import remembered
from access.people.sessions import Sessions
from access.people.sign_in import SignIn
from access.people.store import PeopleStore
from access.settings import AccessSettings
from access.widget.tokens import WidgetTokens
from storage.attestation.keys import Keys
from storage.attestation.settings import AttestationSettings
from storage.errors import ConfigurationError
from storage.events import now
from storage.settings import Settings
from streams.bus.protocol import Bus, Outlet
from streams.health import Check
from streams.pseudonyms import pseudonym_key


class AccessControl:
    """Who may call: in open mode everybody on this machine, in required mode whoever ``check`` knows; in both, who has a widget token."""

    def __init__(
        self,
        settings: AccessSettings | None = None,
        check: KeyCheck | None = None,
        tokens: WidgetTokens | None = None,
        sign_in: SignIn | None = None,
        path_prefix: str = "",
    ) -> None:
        self.sign_in, self.path_prefix = sign_in, path_prefix
        self.settings = settings or AccessSettings()
        self.check = check
        self.tokens = tokens or WidgetTokens(b"", ())

    @classmethod
    def of(
        cls, settings: Settings, process: str, bus: Bus, outlet: Outlet, path_prefix: str = "", people: PeopleStore | None = None
    ) -> Self:
        """For the process of this name; ``outlet`` is where it publishes, ``people`` who may sign in there.

        Raises
        ------
        ConfigurationError
            The settings contradict each other; or they do not say in which mode, and there are keys or people.
        """
        access, home = AccessSettings.of(settings, path_prefix), settings.common.home
        tokens = WidgetTokens(pseudonym_key(settings.common), access.widget_origins)
        if access.required:
            trusted = TrustedKeys(Keys(home, settings.section("attestation", AttestationSettings)))
            follower = AccessFollower(bus, outlet, trusted.have_signed, home)
            sessions = None if people is None else Sessions(people, follower)
            check = KeyCheck(process, follower, trusted, RateLimits(access.requests_per_minute), tokens, sessions)
            sign_in = None if sessions is None else SignIn(sessions, timedelta(hours=access.session_hours))
            return cls(access, check, tokens, sign_in, path_prefix)
        known = remembered(home)
        if access.mode is None and known is not None and known.lets_in_somebody(now()):
            raise ConfigurationError(
                '[access] mode is not set, and there are API keys or people: set it to "required", so that only they get in, or to "open"'
            )
        return cls(access, tokens=tokens)

    @property
    def state(self) -> AccessState | None:
        """Who may call; None in open mode, or before the log has been read."""
        return None if self.check is None else self.check.follower.state

    @property
    def checks(self) -> dict[str, Check]:
        """The readiness check."""
        return {} if self.check is None else {"access": self.check.follower.why_not_ready}

    def start(self) -> None:
        if self.check is not None:
            self.check.follower.start()

    def stop(self) -> None:
        if self.check is not None:
            self.check.follower.stop()
