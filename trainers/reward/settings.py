"""Registers the settings sections of the reward models and of their mixture."""

from storage.settings import section, sections_of
from trainers.reward import table
from trainers.reward.mixing import MixingSettings

sections_of(lambda: {row.section: row.settings for row in table.REWARD_MODELS})
section("reward")(MixingSettings)
