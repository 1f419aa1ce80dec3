"""The phases of ``feedbackloop train --phase``: the reward model, of any kind, and every row of the training method table."""

from dataclasses import dataclass

from pydantic import BaseModel

from storage.tables import by_name, row_named
from trainers.audits.table import gates_section
from trainers.features.settings import FeatureSettings
from trainers.policy import methods
from trainers.policy.methods import Method
from trainers.reward import table


@dataclass(frozen=True)
class RewardPhase:
    """Trains a reward model of one of the kinds of ``trainers.reward.table``."""

    name: str = "reward"


Phase = RewardPhase | Method


def phases() -> dict[str, Phase]:
    """The phases by name."""
    return by_name("training phase", _rows())


def phase(name: str) -> Phase:
    """The phase named ``name``.

    Raises
    ------
    ConfigurationError
        No phase has that name.
    """
    return row_named(name, "training phase", _rows())


def sections_used(row: Phase) -> dict[str, type[BaseModel]]:
    """The settings sections that a training of the phase reads."""
    rewards: dict[str, type[BaseModel]] = {kind.section: kind.settings for kind in table.REWARD_MODELS}
    rewards |= {"features": FeatureSettings, "gates": gates_section()}
    if isinstance(row, RewardPhase):
        return rewards
    own: dict[str, type[BaseModel]] = {row.name: row.settings}
    return own | rewards if "rewards" in row.settings.model_fields else own


def _rows() -> tuple[Phase, ...]:
    return (RewardPhase(), *methods.METHODS)
