"""The table of training methods. A new method is a file beside this one and a row here."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from storage.tables import row_named
from trainers.data.preference import decisive_training_rows
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.kto import KTOSettings, train_kto
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.sft import SFTSettings, train_sft
from trainers.policy.training import Trained, TrainingInputs


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes
    ----------
    name : used in events, ``[retraining] method`` and ``train --phase``, and as the name of the settings section
    settings : the model of that section
    train : trains the base model and writes the adapter; resumes from its last checkpoint
    """

    name: str
    settings: type[BaseModel]
    train: Callable[[TrainingInputs], Trained]


def _dpo(training: TrainingInputs) -> Trained:
    rows = decisive_training_rows(training.preferences)
    return train_dpo(training.base, rows, training.settings, training.folder, training.progress)


def _ppo(training: TrainingInputs) -> Trained:
    from trainers.policy.ppo import train_on_judgments

    return train_on_judgments(training)


def _sft(training: TrainingInputs) -> Trained:
    return train_sft(training.base, training.demonstrations, training.preferences, training.settings, training.folder, training.progress)


def _kto(training: TrainingInputs) -> Trained:
    return train_kto(training.base, training.ratings, training.settings, training.folder, training.progress)


METHODS: tuple[Method, ...] = (
    Method("sft", SFTSettings, _sft),
    Method("dpo", DPOSettings, _dpo),
    Method("kto", KTOSettings, _kto),
    Method("ppo", PPOSettings, _ppo),
)


def method(name: str) -> Method:
    """The row named ``name``.

    Raises
    ------
    ConfigurationError
        No row has that name.
    """
    return row_named(name, "training method", METHODS)
