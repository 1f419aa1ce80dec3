"""The table of reward models that are trained offline. A new one is a file and a row here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from storage.settings import Settings
from storage.tables import row_named
from trainers.reward.ensemble import EnsembleSettings
from trainers.reward.mixing import MixingSettings
from trainers.reward.online.settings import HeadSettings
from trainers.reward.transformer.settings import TransformerSettings

if TYPE_CHECKING:
    from trainers.reward.reward import Fitter, Progress, Reward


@dataclass(frozen=True)
class RewardModelKind:
    """One row of the table.

    Attributes
    ----------
    name : value of ``feedbackloop train --phase reward --kind``
    section, settings : its settings section and the model of it
    fitter : makes what trains models of this kind with the settings, and reports the progress of long trainings
    file : the file by which the folder of a saved model is recognised
    load : reads a saved model
    folds : folds of the cross-validation that reports on a training; 0 where a training takes too long for it
    """

    name: str
    section: str
    settings: type[BaseModel]
    fitter: Callable[[Settings, "Progress"], "Fitter"]
    file: str
    load: Callable[[Path, Settings], "Reward"]
    folds: int = 0


def _head_fitter(settings: Settings, progress: "Progress") -> "Fitter":
    from trainers.reward.head_reward import HeadFitter

    return HeadFitter(settings)


def _load_head(path: Path, settings: Settings) -> "Reward":
    from trainers.reward.head_reward import HeadReward

    return HeadReward.load(path, settings)


def _transformer_fitter(settings: Settings, progress: "Progress") -> "Fitter":
    from trainers.reward.transformer.training import TransformerFitter

    return TransformerFitter(settings, progress)


def _load_transformer(path: Path, settings: Settings) -> "Reward":
    from trainers.reward.transformer.model import TransformerReward

    return TransformerReward.load(path)


def _ensemble_fitter(settings: Settings, progress: "Progress") -> "Fitter":
    from trainers.reward.ensemble import EnsembleFitter

    return EnsembleFitter(settings, lambda kind: reward_model(kind).fitter(settings, progress))


def _load_ensemble(path: Path, settings: Settings) -> "Reward":
    from trainers.reward.ensemble import EnsembleReward

    return EnsembleReward.load(path, settings)


def _mixture_fitter(settings: Settings, progress: "Progress") -> "Fitter":
    from trainers.reward.mixture_reward import MixtureFitter

    return MixtureFitter(settings)


def _load_mixture(path: Path, settings: Settings) -> "Reward":
    from trainers.reward.mixture_reward import MixtureReward

    return MixtureReward.load(path, settings)


HEAD = "head"  # the kind that learns online too

REWARD_MODELS: tuple[RewardModelKind, ...] = (
    RewardModelKind(HEAD, "learning", HeadSettings, _head_fitter, "head.safetensors", _load_head, folds=5),
    RewardModelKind("transformer", "transformer", TransformerSettings, _transformer_fitter, "reward.json", _load_transformer),
    RewardModelKind("mixture", "reward", MixingSettings, _mixture_fitter, "mixture.json", _load_mixture),
    RewardModelKind("ensemble", "ensemble", EnsembleSettings, _ensemble_fitter, "ensemble.json", _load_ensemble),
)


def reward_model(name: str) -> RewardModelKind:
    """The row named ``name``.

    Raises
    ------
    ConfigurationError
        No row has that name.
    """
    return row_named(name, "kind of reward model", REWARD_MODELS)
