"""Settings are read once, at the edge of a process: ``feedbackloop.toml``, over it ``.env``, over it the environment.

Each section's model stands beside the code that it configures; this file only finds the values and words the complaints.
``FEEDBACKLOOP_BUS=…`` sets a top-level value, ``FEEDBACKLOOP_SERVING__PORT=…`` the key ``port`` of ``[serving]``.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from storage.errors import ConfigurationError
from storage.events import Source, problems

PREFIX = "FEEDBACKLOOP_"
SECTIONS = (
    "serving",
    "hub",
    "processor",
    "trainer",
    "kafka",
    "feedback",
    "features",
    "learning",
    "retraining",
    "dpo",
    "evaluation",
    "gates",
    "simulation",
)

Section = TypeVar("Section", bound=BaseModel)


class Common(BaseModel):
    """What every process has to agree on.

    Attributes
    ----------
    home : everything that a service writes lies under it
    bus : ``sqlite:///path`` or ``kafka://host:port``; the file ``bus.sqlite`` in ``home`` where empty
    artifacts : folder or fsspec URL of models and reports; the folder ``artifacts`` in ``home`` where empty
    model : the language model that chats and is trained: ``shipped``, a folder or a Hugging Face id
    sources : whose judgments teach: simulated, imported and AI ones enter only where they are named here
    allowed_hosts : names besides loopback under which our ports may be asked for, such as that of a proxy in front of them
    pseudonym_key : what pseudonyms are made with; the file ``pseudonym.key`` in ``home``, made when first needed, where empty
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path(".feedbackloop")
    bus: str = ""
    artifacts: str = ""
    model: str = "shipped"
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = ("product",)
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")], ...] = ()
    pseudonym_key: SecretStr = SecretStr("")

    @property
    def bus_url(self) -> str:
        return self.bus or f"sqlite:///{self.home.resolve() / 'bus.sqlite'}"

    @property
    def artifacts_url(self) -> str:
        return self.artifacts or str(self.home.resolve() / "artifacts")


@dataclass(frozen=True)
class Settings:
    """The values found, and where they came from."""

    common: Common
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: str = "defaults"

    @classmethod
    def read(cls, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read ``feedbackloop.toml`` and ``.env`` in ``folder`` (default: the working folder; ``FEEDBACKLOOP_CONFIG`` names another file).

        Raises
        ------
        ConfigurationError
            A file that cannot be read, a section or key that does not exist, a value of the wrong type.
        """
        folder = folder or Path.cwd()
        environ = os.environ if environ is None else environ
        variables = {k: v for k, v in dotenv_values(folder / ".env").items() if v is not None} | dict(environ)
        path = Path(variables.get(f"{PREFIX}CONFIG", folder / "feedbackloop.toml"))
        try:
            values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigurationError(f"{path}: {error}; mend the file or remove it to run on the defaults") from error
        sections: dict[str, dict[str, Any]] = {name: dict(v) for name, v in values.items() if isinstance(v, dict)}
        common = {name: v for name, v in values.items() if not isinstance(v, dict)}
        for variable, text in variables.items():
            if not variable.startswith(PREFIX) or variable == f"{PREFIX}CONFIG":
                continue
            section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
            if key:
                sections.setdefault(section, {})[key] = _value(text)
            else:
                common[section] = _value(text)
        unknown = sorted(set(sections) - set(SECTIONS))
        if unknown:
            raise ConfigurationError(f"{path}: there is no section [{unknown[0]}]; the sections are {', '.join(SECTIONS)}")
        return cls(_validated(Common, common, f"{path}"), sections, str(path))

    def section(self, name: str, model: type[Section]) -> Section:
        """The section ``name`` as ``model``, defaults filled in; a :class:`ConfigurationError` names a wrong key or value."""
        return _validated(model, dict(self.sections.get(name, {})), f"{self.origin} [{name}]")

    def with_values(self, common: Mapping[str, Any] | None = None, **sections: Mapping[str, Any]) -> "Settings":
        """These settings with some values laid over them (command-line options, the demo)."""
        merged = {name: dict(values) for name, values in self.sections.items()}
        for name, values in sections.items():
            merged.setdefault(name, {}).update(values)
        over = _validated(Common, self.common.model_dump() | dict(common or {}), self.origin)
        return Settings(over, merged, self.origin)


def _value(text: str) -> Any:
    """A variable's text as JSON where it is a list, an object, or such; else as it stands (pydantic turns "8000" into a number)."""
    if text[:1] in "[{":
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise ConfigurationError(f"{text[:80]!r} looks like JSON and is not: {error}") from error
    return text


def _validated(model: type[Section], values: dict[str, Any], origin: str) -> Section:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"{origin}: {problems(error.errors(include_input=False))}") from error
