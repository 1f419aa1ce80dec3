"""Finds the models that ``feedbackloop evaluate`` names: versions of the running loop, read from its log, or models in folders."""

import re
from collections.abc import Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path

from storage.artifacts import Artifacts
from storage.errors import ConfigurationError
from storage.settings import Settings
from streams.bus.kafka_settings import is_kafka
from streams.bus.open import bus_of
from streams.bus.scan import to_end
from streams.versions import BASE, Versions
from trainers.evaluation.contender import Contender, model_ref
from trainers.models.references import resolve_model

CHAMPION = "champion"
_VERSION = re.compile(r"v-[0-9a-f]*")
SHOWN = 5  # versions in a message


def has_log(settings: Settings) -> bool:
    """Whether a loop has run with these settings. SQLite would create the file if it were opened."""
    url = settings.common.bus_url
    return is_kafka(url) or Path(url.removeprefix("sqlite:///")).is_file()


class ModelNames:
    """Resolves names of models; the log is read once, and only for a name that needs it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def find(self, name: str) -> Contender:
        """The model: ``champion``, ``base``, a version or its first characters, a folder, a Hugging Face id, or ``shipped``.

        Raises
        ------
        ConfigurationError
            There is no such version, or several.
        ModelNotFound
            There is no such folder, or it holds no model.
        ArtifactError
            The version's adapter is missing from the artifact store or damaged.
        """
        if name == BASE:
            return self._base
        if name == CHAMPION:
            return self.champion
        if _VERSION.fullmatch(name) and not Path(name).exists():
            return self._version(name)
        resolve_model(name)
        return Contender.of(name)

    def opponent(self, of: Contender) -> Contender:
        """The champion; for the champion itself, and where no loop has run, the model's base, or else the configured model."""
        champion = self.champion
        if champion.ref not in (of.ref, self._base.ref):
            return champion
        return self._base if of.is_whole or of.policy is not None else self.find(of.base)

    @cached_property
    def champion(self) -> Contender:
        versions = self._versions
        return self._base if versions is None or versions.champion == BASE else self._version(versions.champion)

    @property
    def _base(self) -> Contender:
        model = self._settings.common.model
        return Contender(BASE, model_ref(model), model)

    def _version(self, prefix: str) -> Contender:
        versions = self._versions
        if versions is None:
            raise ConfigurationError(
                f"there is no version {prefix!r}: no loop has run in {self._settings.common.home}; set home, or name a model's folder"
            )
        found = [prefix] if prefix in versions.versions else [name for name in versions.versions if name.startswith(prefix)]
        if len(found) != 1:
            raise ConfigurationError(_not_one(prefix[:80], found, list(versions.versions)))
        policy = versions.versions[found[0]].evaluated.policy
        base = self._settings.common.model
        return Contender(found[0], model_ref(base, Artifacts(self._settings.common.artifacts_url).get(policy)), base, policy)

    @cached_property
    def _versions(self) -> Versions | None:
        """None where no loop has run."""
        from streams.evaluations import KINDS, TOPICS, RunArtifacts, lives_of

        if not has_log(self._settings):
            return None
        with closing(bus_of(self._settings)) as bus:
            events = [event for event in to_end(bus, TOPICS, "evaluate") if isinstance(event, KINDS)]
        return lives_of(events, RunArtifacts(Artifacts(self._settings.common.artifacts_url)))


def _not_one(prefix: str, found: Sequence[str], known: Sequence[str]) -> str:
    if found:
        shown = ", ".join(found[:SHOWN]) + (", …" if len(found) > SHOWN else "")
        return f"{len(found)} versions start with {prefix!r} ({shown}); give more characters"
    return f"there is no version {prefix!r}; the newest are {', '.join(known[-SHOWN:]) or 'none yet'}"
