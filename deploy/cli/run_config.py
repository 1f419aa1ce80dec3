"""The file of ``feedbackloop train --config``: what to train, on what, and with which settings, as YAML or TOML.

Top-level keys are the command's options (``phase``, ``data``, ``model``, ``out``, ``kind``), the others are sections as in
``feedbackloop.toml``. ``--set SECTION.KEY=VALUE`` overrides a key. A section that no trained phase uses is refused: it would be a setting
that somebody believes in and nothing reads. The file may also be a run's frozen settings, which name every section of the run.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from storage.errors import ConfigurationError
from storage.settings import Settings
from trainers.phases import Phase, sections_used
from trainers.runs.frozen import FrozenSettings

OPTIONS = ("phase", "data", "model", "out", "kind")


@dataclass(frozen=True)
class RunConfig:
    """The options and sections of the file, with overrides applied."""

    origin: str = "--set"
    options: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    frozen: bool = False

    @classmethod
    def read(cls, path: Path | None, overrides: Iterable[str] = ()) -> "RunConfig":
        """Read the file, if there is one, and apply ``SECTION.KEY=VALUE`` overrides, whose values are YAML.

        Raises
        ------
        ConfigurationError
            The file cannot be read, or a key or an override has no such form.
        """
        values = _file(path) if path is not None else {}
        options: dict[str, str] = {}
        sections: dict[str, dict[str, Any]] = {}
        if frozen := values.keys() == FrozenSettings.model_fields.keys():
            values = {"phase": values["method"], **values["sections"]}
        for name, value in values.items():
            if isinstance(value, Mapping):
                sections[name] = dict(value)
            elif name in OPTIONS:
                options[name] = str(value)
            else:
                raise ConfigurationError(
                    f"{path}: there is no option {name!r}; the options are {', '.join(OPTIONS)}, the rest are sections"
                )
        for override in overrides:
            name, equals, text = override.partition("=")
            section, dot, key = name.strip().partition(".")
            if not equals or not dot or not key:
                raise ConfigurationError(f"--set {override}: write SECTION.KEY=VALUE, such as dpo.beta=0.1")
            sections.setdefault(section, {})[key] = _yaml(text, f"--set {override}")
        return cls(str(path) if path is not None else "--set", options, sections, frozen)

    def applied(self, settings: Settings, phases: Sequence[Phase]) -> Settings:
        """The settings with the sections of this file.

        Raises
        ------
        ConfigurationError
            No phase uses a section, or a key or value is wrong.
        """
        used = {name: model for phase in phases for name, model in sections_used(phase).items()}
        unused = sorted(self.sections.keys() - used.keys())
        if unused and not self.frozen:
            names = ", ".join(phase.name for phase in phases)
            raise ConfigurationError(f"{self.origin}: nothing uses [{unused[0]}] when {names} is trained; remove it, or train its phase")
        sections = {name: values for name, values in self.sections.items() if name in used}
        alone = Settings(settings.common, sections, self.origin)
        for name in sections:
            alone.section(name, used[name])  # names the file in errors
        return settings.with_values(**sections)


def _file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: there is no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: cannot be read as {'TOML' if path.suffix == '.toml' else 'YAML'}: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected options and sections, not a {type(values).__name__}")
    return {str(name): value for name, value in values.items()}


def _yaml(text: str, what: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{what}: the value is not YAML") from error
