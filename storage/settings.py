"""Settings, read once when a process starts: ``feedbackloop.toml``, overridden by ``.env``, overridden by the environment.

Each section's model is declared with :func:`section` in a ``settings.py`` beside the code that it configures; there is no central list.
``FEEDBACKLOOP_BUS=…`` sets a top-level value, ``FEEDBACKLOOP_SERVING__PORT=…`` the key ``port`` of ``[serving]``; empty variables are
ignored. An error names the variable, or the file and key, but never the value, which may be a secret.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, create_model
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from storage.errors import ConfigurationError
from storage.events import Source
from storage.places import FullPath, full_model, full_place

PREFIX = "FEEDBACKLOOP_"
CONFIG = f"{PREFIX}CONFIG"
NESTED_DELIMITER = "__"  # between section and key in a variable's name
ROOMS = ("storage", "trainers", "streams", "access", "serving", "dashboard", "deploy")

Model = TypeVar("Model", bound=BaseModel)
Models = Mapping[str, type[BaseModel]]
Variables = Mapping[tuple[str, str], str]  # the variable that set a value, by section ("" for the top level) and key
PathOrURL = Annotated[str, AfterValidator(full_place)]

_DECLARED: list[Callable[[], Models]] = []


def section(name: str) -> Callable[[type[Model]], type[Model]]:
    """Decorator that declares a model as the section ``[name]``; use it in a file named ``settings.py`` or ``…_settings.py``."""

    def declare(model: type[Model]) -> type[Model]:
        _DECLARED.append(lambda: {name: model})
        return model

    return declare


def sections_of(models: Callable[[], Models]) -> None:
    """Declare sections that are derived from a table; ``models`` is called on each access."""
    _DECLARED.append(models)


def sections() -> dict[str, type[BaseModel]]:
    """Every section's model by name; imports all settings modules first.

    Raises
    ------
    ConfigurationError
        Two sections have the same name.
    """
    for module in _settings_modules():
        import_module(module)
    found: dict[str, type[BaseModel]] = {}
    for models in _DECLARED:
        for name, model in models().items():
            if name in found:
                raise ConfigurationError(f"two sections of the settings are named [{name}]: {found[name].__name__} and {model.__name__}")
            found[name] = model
    return dict(sorted(found.items()))


@cache
def _settings_modules() -> tuple[str, ...]:
    """Modules whose name ends with ``settings``, in all installed packages of the project."""
    found = []
    for room in ROOMS:
        spec = find_spec(room)
        for root in map(Path, spec.submodule_search_locations or () if spec is not None else ()):
            paths = sorted(path.relative_to(root).with_suffix("") for path in root.rglob("*settings.py"))
            found += [".".join((room, *path.parts)) for path in paths]
    return tuple(name for name in found if name != __name__)


class Common(BaseModel):
    """Top-level settings, shared by all processes.

    Attributes
    ----------
    home : directory for everything that a service writes
    bus : ``sqlite:///path`` or ``kafka://host:port``; if empty, the file ``bus.sqlite`` in ``home``
    artifacts : folder or fsspec URL of models and reports; if empty, the folder ``artifacts`` in ``home``
    model : the language model for chat and training: ``shipped``, ``smollm2``, a folder or a Hugging Face id
    sources : sources of judgments to train on; simulated, imported and AI judgments are excluded unless listed
    allowed_hosts : Host header values accepted besides loopback, such as the name of a reverse proxy (see ``[access]``)
    pseudonym_key : secret key for pseudonyms and widget tokens, at least 32 random characters; if empty, it is read from ``pseudonym.key``
        in ``home``, generated on first use
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    home: FullPath = Path(".feedbackloop")
    bus: PathOrURL = ""
    artifacts: PathOrURL = ""
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


class Effective(NamedTuple):
    """An effective setting: section ("" for the top level), key, value, and what set it."""

    section: str
    key: str
    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """Values and their origins.

    Attributes
    ----------
    sections : the values that were set, by section
    origin : the settings file
    variables : the environment variable of each value set by one
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
            A file is unreadable or missing though named, a section or key does not exist, or a value is invalid.
        """
        folder = folder or Path.cwd()
        given = _variables(folder, os.environ if environ is None else environ)
        path = Path(given.pop(CONFIG, folder / "feedbackloop.toml")).expanduser()
        values = _file(path, named=path != folder / "feedbackloop.toml")
        common = {name: value for name, value in values.items() if not isinstance(value, dict)}
        found: dict[str, dict[str, Any]] = {name: dict(value) for name, value in values.items() if isinstance(value, dict)}
        models = sections()
        for name in sorted(found.keys() - models.keys()):
            raise ConfigurationError(f"{path}: there is no section [{name}]; the sections are {', '.join(models)}")
        variables: dict[tuple[str, str], str] = {}
        for variable, name, key, value in _read_variables(given, models):
            variables[name, key] = variable
            values = found.setdefault(name, {}) if name else common
            values[key] = values[key] | value if isinstance(value, dict) and isinstance(values.get(key), dict) else value
        return cls(_validated(Common, common, "", str(path), variables), found, str(path), variables)

    def section(self, name: str, model: type[Model]) -> Model:
        """Validate the section ``name`` as ``model``, with defaults; raises :class:`ConfigurationError` for a wrong key or value."""
        return _validated(model, dict(self.sections.get(name, {})), name, self.origin, self.variables)

    def with_values(self, common: Mapping[str, Any] | None = None, **over: Mapping[str, Any]) -> "Settings":
        """A copy with some values overridden (command-line options, the demo)."""
        merged = {name: dict(values) for name, values in self.sections.items()}
        for name, values in over.items():
            merged.setdefault(name, {}).update(values)
        top = _validated(Common, self.common.model_dump() | dict(common or {}), "", self.origin, self.variables)
        return Settings(top, merged, self.origin, self.variables)

    def effective(self) -> Iterator[Effective]:
        """Yield every effective setting, the top level first, then the sections by name.

        Raises
        ------
        ConfigurationError
            A section holds a wrong key or value.
        """
        default = Common()
        for key, value in self.common:
            changed = value != getattr(default, key)
            yield Effective("", key, value, self.variables.get(("", key)) or (self.origin if changed else "default"))
        for name, model in sections().items():
            given = self.sections.get(name, {})
            for key, value in self.section(name, model):
                yield Effective(name, key, value, self.variables.get((name, key)) or (self.origin if key in given else "default"))


def _variables(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Non-empty ``FEEDBACKLOOP_`` variables from ``.env`` and the environment."""
    try:
        dotenv = dotenv_values(folder / ".env")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder / '.env'}: {_why(error)}; fix the file or remove it") from error
    return {name: text for values in (dotenv, environ) for name, text in values.items() if name.startswith(PREFIX) and text}


def _read_variables(given: Mapping[str, str], models: Models) -> Iterator[tuple[str, str, str, Any]]:
    """Yield each variable with its section, key and value. Lists and objects are JSON.

    Variables are parsed one at a time, so that an error can name the variable.
    """
    fields: dict[str, Any] = {name: (about.annotation, None) for name, about in Common.model_fields.items()}
    fields |= {name: (model, None) for name, model in models.items()}
    everything: type[BaseSettings] = create_model("Everything", __base__=BaseSettings, **fields) if given else BaseSettings
    source = EnvSettingsSource(everything, env_prefix=PREFIX, env_nested_delimiter=NESTED_DELIMITER)
    for variable, text in given.items():
        name, _, key = variable.removeprefix(PREFIX).lower().partition(NESTED_DELIMITER)
        name, key = (name, key.partition(NESTED_DELIMITER)[0]) if key else ("", name)
        if name and name not in models:
            raise ConfigurationError(f"{variable}: there is no section [{name}]; the sections are {', '.join(models)}")
        if not name and key not in Common.model_fields:
            raise ConfigurationError(f"{variable}: there is no such setting; the top-level ones are {', '.join(Common.model_fields)}")
        source.env_vars = {variable.lower(): text}
        try:
            value = source()
        except (SettingsError, ValueError):
            raise ConfigurationError(f'{variable}: not JSON; write it like ["one", "two"]') from None
        yield variable, name, key, value[name][key] if name else value[key]


def _file(path: Path, *, named: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if named:
            raise ConfigurationError(f"{CONFIG} names {path}, and there is no such file; correct the variable or unset it") from error
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: {_why(error)}; fix the file or remove it to use the defaults") from error


def _why(error: Exception) -> str:
    """What is wrong with a file, without quoting its content."""
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start}"
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


def _validated(model: type[Model], values: dict[str, Any], name: str, origin: str, variables: Variables) -> Model:
    def named(key: str) -> str:
        return variables.get((name, key)) or f"{origin}{f' [{name}]' if name else ''}: {key}"

    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_input=False, include_context=False, include_url=False)
        raise ConfigurationError("; ".join(f"{_at(named, one['loc'])}: {_message(one, model)}" for one in found)) from None


def _message(error: Any, model: type[BaseModel]) -> str:
    """pydantic's message, except for an unknown key."""
    if error["type"] != "extra_forbidden" or len(error["loc"]) > 1:
        return str(error["msg"])
    near = get_close_matches(str(error["loc"][0]), model.model_fields, 1)
    return f"no such setting; {f'do you mean {near[0]}?' if near else 'feedbackloop settings lists them'}"


def _at(named: Callable[[str], str], loc: tuple[int | str, ...]) -> str:
    return ".".join([named(str(loc[0])), *map(str, loc[1:])]) if loc else named("")
