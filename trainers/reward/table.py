"""The table of reward models that are trained offline. A new one is a file and a row here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from storage.settings import Settings
from trainers.data.bad_lines import DataSummary
from trainers.reward.online.settings import HeadSettings


class Report(Protocol):
    """Results of a training, as text and as JSON."""

    def as_text(self) -> str: ...

    def model_dump_json(self) -> str: ...


Train = Callable[[Path, Settings, bool, Callable[[DataSummary], None]], Report]


@dataclass(frozen=True)
class RewardModelKind:
    """One row of the table.

    Attributes
    ----------
    name : value of ``feedbackloop train --phase``
    section, settings : its settings section and the model of it
    train : trains on a file or a snapshot's folder and validates on held-out prompts; if the flag is set, A and B are swapped first, which
        must not change the results. The last argument is called with the data summary before training starts
    """

    name: str
    section: str
    settings: type[BaseModel]
    train: Train


def _train_online(path: Path, settings: Settings, swap_sides: bool, on_data: Callable[[DataSummary], None]) -> Report:
    from trainers.reward.validation import train_reward

    return train_reward(path, settings, swap_sides=swap_sides, on_data=on_data)


REWARD_MODELS: tuple[RewardModelKind, ...] = (RewardModelKind("reward", "learning", HeadSettings, _train_online),)
