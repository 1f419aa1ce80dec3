"""Registers the settings sections of the reward models."""

from storage.settings import sections_of
from trainers.reward import table

sections_of(lambda: {row.section: row.settings for row in table.REWARD_MODELS})
