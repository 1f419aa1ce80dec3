"""Settings are read once, at the edge of a process: ``feedbackloop.toml``, over it ``.env``, over it the environment.

Each section's model stands beside the code that it configures; this file only finds the values and words the complaints.
``FEEDBACKLOOP_BUS=…`` sets a top-level value, ``FEEDBACKLOOP_SERVING__PORT=…`` the key ``port`` of ``[serving]``; an empty variable sets
nothing. A complaint names the variable, or the file and the key, and never repeats a value: it may be a secret.
"""

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import orjson
from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from storage.errors import ConfigurationError
from storage.events import Source
from storage.places import FullPath, full_model, full_place

PREFIX = "FEEDBACKLOOP_"
CONFIG = f"{PREFIX}CONFIG"
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

Variables = Mapping[tuple[str, str], str]  # the variable that set a value, by section ("" for the top level) and key
Section = TypeVar("Section", bound=BaseModel)
Place = Annotated[str, AfterValidator(full_place)]


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

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: FullPath = Path(".feedbackloop")
    bus: Place = ""
    artifacts: Place = ""
    model: Annotated[str, AfterValidator(full_model)] = "shipped"
    sources: Annotated[tuple[Source, ...], Field(min_length=1)] = ("product",)
    allowed_hosts: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")], ...] = ()
    pseudonym_key: SecretStr = SecretStr("")

    @property
    def bus_url(self) -> str:
        return self.bus or f"sqlite:///{self.home / 'bus.sqlite'}"

    @property
    def artifacts_url(self) -> str:
        return self.artifacts or str(self.home / "artifacts")


@dataclass(frozen=True)
class Settings:
    """The values found, and where they came from.

    Attributes
    ----------
    origin : the file
    variables : what set those values that the file did not
    """

    common: Common
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    origin: str = "defaults"
    variables: Variables = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path | None = None, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read ``feedbackloop.toml`` and ``.env`` in ``folder`` (default: the working folder; ``FEEDBACKLOOP_CONFIG`` names another file).

        Raises
        ------
        ConfigurationError
            A file that cannot be read or was named and is not there, a section or key that does not exist, a value of the wrong type.
        """
        folder = folder or Path.cwd()
        found = _variables(folder, os.environ if environ is None else environ)
        path = Path(found.pop(CONFIG, folder / "feedbackloop.toml")).expanduser()
        values = _file(path, named=path != folder / "feedbackloop.toml")
        sections: dict[str, dict[str, Any]] = {name: dict(v) for name, v in values.items() if isinstance(v, dict)}
        common = {name: v for name, v in values.items() if not isinstance(v, dict)}
        variables: dict[tuple[str, str], str] = {}
        for variable, text in found.items():
            section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
            section, key = (section, key) if key else ("", section)
            variables[section, key] = variable
            (sections.setdefault(section, {}) if section else common)[key] = text
        for name in sorted(set(sections) - set(SECTIONS)):
            where = next((variable for (section, _), variable in variables.items() if section == name), str(path))
            raise ConfigurationError(f"{where}: there is no section [{name}]; the sections are {', '.join(SECTIONS)}")
        return cls(_validated(Common, common, "", str(path), variables), sections, str(path), variables)

    def section(self, name: str, model: type[Section]) -> Section:
        """The section ``name`` as ``model``, defaults filled in; a :class:`ConfigurationError` names a wrong key or value."""
        return _validated(model, dict(self.sections.get(name, {})), name, self.origin, self.variables)

    def with_values(self, common: Mapping[str, Any] | None = None, **sections: Mapping[str, Any]) -> "Settings":
        """These settings with some values laid over them (command-line options, the demo)."""
        merged = {name: dict(values) for name, values in self.sections.items()}
        for name, values in sections.items():
            merged.setdefault(name, {}).update(values)
        over = _validated(Common, self.common.model_dump() | dict(common or {}), "", self.origin, self.variables)
        return Settings(over, merged, self.origin, self.variables)


def _variables(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Ours, from ``.env`` and the environment; an empty one is as good as none."""
    try:
        dotenv = dotenv_values(folder / ".env")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder / '.env'}: {_why(error)}; mend the file or remove it") from error
    return {name: text for values in (dotenv, environ) for name, text in values.items() if name.startswith(PREFIX) and text}


def _file(path: Path, *, named: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if named:
            raise ConfigurationError(f"{CONFIG} names {path}, and there is no such file; correct the variable or unset it") from error
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: {_why(error)}; mend the file or remove it to run on the defaults") from error


def _why(error: Exception) -> str:
    """What is wrong with a file, without a word of what it holds."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _validated(model: type[Section], values: dict[str, Any], section: str, origin: str, variables: Variables) -> Section:
    def named(key: str) -> str:
        return variables.get((section, key)) or f"{origin}{f' [{section}]' if section else ''}: {key}"

    for key, value in values.items():
        if (section, key) in variables and isinstance(value, str) and _takes_json(model.model_fields.get(key)):
            try:
                values[key] = orjson.loads(value)
            except orjson.JSONDecodeError:
                raise ConfigurationError(f'{named(key)}: not JSON; write it like ["one", "two"]') from None
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False, include_url=False)
        raise ConfigurationError("; ".join(f"{_at(named, one['loc'])}: {one['msg']}" for one in found)) from None


def _at(named: Any, loc: tuple[int | str, ...]) -> str:
    return ".".join([named(str(loc[0])), *map(str, loc[1:])]) if loc else named("")


def _takes_json(field: FieldInfo | None) -> bool:
    """Whether the field wants a list or an object, which a variable has to spell as JSON, and no text, which is taken as it stands."""
    if field is None:
        return False
    annotation: Any = field.annotation
    forms = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    kinds = [get_origin(form) or form for form in forms]
    return str not in kinds and any(isinstance(kind, type) and issubclass(kind, BaseModel | Mapping | Collection) for kind in kinds)
