"""What ``feedbackloop train --phase`` can train: every reward model and every training method of the tables."""

from storage.errors import ConfigurationError
from trainers.policy import methods
from trainers.policy.methods import Method
from trainers.reward import table
from trainers.reward.table import RewardModelKind


def phases() -> dict[str, RewardModelKind | Method]:
    """The rows of both tables by name.

    Raises
    ------
    ConfigurationError
        Two rows have one name.
    """
    found: dict[str, RewardModelKind | Method] = {}
    rows: tuple[RewardModelKind | Method, ...] = (*table.REWARD_MODELS, *methods.METHODS)
    for row in rows:
        if row.name in found:
            raise ConfigurationError(f"two training phases are named {row.name!r}: give one of them another name")
        found[row.name] = row
    return found


def phase(name: str) -> RewardModelKind | Method:
    """The row of that name.

    Raises
    ------
    ConfigurationError
        There is none.
    """
    rows = phases()
    if name not in rows:
        raise ConfigurationError(f"there is no phase {name!r} to train; the phases are {', '.join(rows)}")
    return rows[name]
