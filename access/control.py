"""Who may call one process, put together from the settings."""

from datetime import timedelta
from typing import Self

from access.change_log import ChangeLog, TrustedKeys
from access.follower import AccessFollower
from access.key_check import KeyCheck
from access.keys import AccessState
from access.limits import RateLimits
from access.memory import remembered
from access.people.by_provider import ByProvider
from access.people.changes import PeopleChanges
from access.people.oidc import Provider
from access.people.oidc_settings import OIDCSettings
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
        oidc = settings.section("oidc", OIDCSettings)
        if oidc.issuer and not access.required:
            raise ConfigurationError('[oidc]: people sign in in the required mode only: set [access] mode = "required", or remove [oidc]')
        if access.required:
            keys = Keys(home, settings.section("attestation", AttestationSettings))
            trusted = TrustedKeys(keys)
            follower = AccessFollower(bus, outlet, trusted.have_signed, home)
            sessions = None if people is None else Sessions(people, follower, idle=timedelta(minutes=access.idle_minutes))
            check = KeyCheck(process, follower, trusted, RateLimits(access.requests_per_minute), tokens, sessions)
            if people is None or sessions is None:
                return cls(access, check, tokens, None, path_prefix)
            by_provider = None
            if oidc.issuer:
                changes = PeopleChanges(ChangeLog(bus, keys), people)
                by_provider = ByProvider(Provider(oidc), changes, follower, pseudonym_key(settings.common))
            sign_in = SignIn(sessions, timedelta(hours=access.session_hours), by_provider)
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
