"""The table of training methods. A new method is a file beside this one and a row here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from storage.errors import ConfigurationError
from trainers.data.preference import Preference
from trainers.policy.dpo import DPOSettings, Trained, train_dpo

Progress = Callable[[int, int, Mapping[str, float]], None]  # step, steps, metrics


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes
    ----------
    name : in events, in ``[retraining] method``, of ``train --phase``, and of the method's section of the settings
    settings : the model of that section
    train : trains ``base`` on decisive preferences and writes the adapter under the given folder; goes on from its last checkpoint
    """

    name: str
    settings: type[BaseModel]
    train: Callable[[str, Iterable[Preference], Any, Path, Progress], Trained]


METHODS: tuple[Method, ...] = (Method("dpo", DPOSettings, train_dpo),)


def method(name: str) -> Method:
    """The row of that name.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    for row in METHODS:
        if row.name == name:
            return row
    raise ConfigurationError(f"there is no training method {name!r}; the methods are {', '.join(row.name for row in METHODS)}")
