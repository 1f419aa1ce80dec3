"""The table of training methods. A new method is a file beside this one and a row here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from storage.tables import row_named
from trainers.data.preference import decisive_training_rows
from trainers.models.precision import LARGE
from trainers.models.references import parameter_count
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.kto import KTOSettings, train_kto
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.sft import SFTSettings, train_sft
from trainers.policy.training import Trained, TrainingInputs

ADAPTER_OF_A_LARGE_MODEL = {"lora_rank": 16, "lora_alpha": 32}


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes
    ----------
    name : used in events, ``[retraining] method`` and ``train --phase``, and as the name of the settings section
    settings : the model of that section
    train : trains the base model and writes the adapter; resumes from its last checkpoint
    large : defaults for base models of more than ``LARGE`` weights; the section's own are for the shipped model
    """

    name: str
    settings: type[BaseModel]
    train: Callable[[TrainingInputs], Trained]
    large: Mapping[str, Any] = field(default_factory=dict)


def _dpo(training: TrainingInputs) -> Trained:
    rows = decisive_training_rows(training.preferences)
    return train_dpo(training.base, rows, training.settings, training.folder, training.progress, training.cache)


def _ppo(training: TrainingInputs) -> Trained:
    from trainers.policy.ppo import train_on_judgments

    return train_on_judgments(training)


def _sft(training: TrainingInputs) -> Trained:
    return train_sft(training.base, training.demonstrations, training.preferences, training.settings, training.folder, training.progress)


def _kto(training: TrainingInputs) -> Trained:
    return train_kto(training.base, training.ratings, training.settings, training.folder, training.progress, training.cache)


METHODS: tuple[Method, ...] = (
    Method("sft", SFTSettings, _sft, ADAPTER_OF_A_LARGE_MODEL | {"learning_rate": 1e-4, "epochs": 2}),
    Method("dpo", DPOSettings, _dpo, ADAPTER_OF_A_LARGE_MODEL | {"learning_rate": 2e-5, "epochs": 1, "beta": 0.1, "sft_weight": 0.2}),
    Method("kto", KTOSettings, _kto, ADAPTER_OF_A_LARGE_MODEL | {"learning_rate": 2e-5, "epochs": 1, "beta": 0.1}),
    Method("ppo", PPOSettings, _ppo, ADAPTER_OF_A_LARGE_MODEL | {"learning_rate": 3e-5, "critic_learning_rate": 3e-4, "micro_batch": 8}),
)


def sized(row: Method, settings: BaseModel, base: str) -> BaseModel:
    """The method's settings with the defaults for the size of ``base``; keys that were set stay as they are.

    A model whose files are not here, such as a Hugging Face id, is taken for a large one.
    """
    weights = parameter_count(base)
    if weights is not None and weights <= LARGE:
        return settings
    unset = {name: value for name, value in row.large.items() if name not in settings.model_fields_set}
    return row.settings.model_validate(settings.model_dump() | unset)


def method(name: str) -> Method:
    """The row named ``name``.

    Raises
    ------
    ConfigurationError
        No row has that name.
    """
    return row_named(name, "training method", METHODS)
