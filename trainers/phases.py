"""The phases of ``feedbackloop train --phase``: the reward model, of any kind, and every row of the training method table."""

from dataclasses import dataclass

from storage.tables import by_name, row_named
from trainers.policy import methods
from trainers.policy.methods import Method


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


def _rows() -> tuple[Phase, ...]:
    return (RewardPhase(), *methods.METHODS)
