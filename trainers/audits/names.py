"""First names by race and sex, for audits that compare how names are treated. Sources are in ``names.toml``."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class NameGroup:
    """Names that readers associate with one race and one sex."""

    race: str
    sex: str
    names: tuple[str, ...]


@cache
def name_groups() -> tuple[NameGroup, ...]:
    """Every group: four races by two sexes, with equally many names each."""
    races = {race: of_race for race, of_race in _file().items() if isinstance(of_race, dict)}
    return tuple(NameGroup(race, sex, tuple(names)) for race, sexes in races.items() for sex, names in sexes.items())


def reference_race() -> str:
    """The race that the others are compared with."""
    return str(_file()["reference"])


def names_by_race() -> dict[str, tuple[str, ...]]:
    """All names of each race, female names first."""
    groups = name_groups()
    return {race: tuple(n for group in groups if group.race == race for n in group.names) for race in dict.fromkeys(g.race for g in groups)}


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(files("trainers.audits").joinpath("names.toml").read_text(encoding="utf-8"))
