"""The phases of ``feedbackloop train --phase``: every row of the reward model table and of the training method table."""

from storage.tables import by_name, row_named
from trainers.policy import methods
from trainers.policy.methods import Method
from trainers.reward import table
from trainers.reward.table import RewardModelKind

Phase = RewardModelKind | Method


def phases() -> dict[str, Phase]:
    """The rows of both tables by name."""
    return by_name("training phase", _rows())


def phase(name: str) -> Phase:
    """The row named ``name``.

    Raises
    ------
    ConfigurationError
        No row has that name.
    """
    return row_named(name, "training phase", _rows())


def _rows() -> tuple[Phase, ...]:
    return (*table.REWARD_MODELS, *methods.METHODS)
