"""The table of training methods. A new method is a file beside this one and a row here."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from storage.tables import row_named
from trainers.data.preference import Preference
from trainers.policy.dpo import DPOSettings, Trained, train_dpo

Progress = Callable[[int, int, Mapping[str, float]], None]  # step, steps, metrics


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes
    ----------
    name : used in events, ``[retraining] method`` and ``train --phase``, and as the name of the settings section
    settings : the model of that section
    train : trains ``base`` on decisive preferences and writes the adapter under the given folder; resumes from its last checkpoint
    """

    name: str
    settings: type[BaseModel]
    train: Callable[[str, Iterable[Preference], Any, Path, Progress], Trained]


METHODS: tuple[Method, ...] = (Method("dpo", DPOSettings, train_dpo),)


def method(name: str) -> Method:
    """The row named ``name``.

    Raises
    ------
    ConfigurationError
        No row has that name.
    """
    return row_named(name, "training method", METHODS)
