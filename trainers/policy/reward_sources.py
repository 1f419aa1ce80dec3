"""What PPO trains against: reward models of every kind, rules and functions, behind one callable.

``[ppo.rewards]`` names sources with weights. A source is a kind of reward model, which is then fitted to the run's own judgments; a rule of
:data:`RULES`; ``package.module:function``, called with (prompt, reply) pairs; or the folder of a saved reward model. A reward model that
has not passed its checks is refused.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storage.errors import ConfigurationError, DataRefused
from storage.settings import Settings
from storage.tables import by_name
from trainers.audits.content.facts import unsupported, values_of
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.features.embedding import Item
from trainers.reward import checks, table
from trainers.reward.guarded import guarded_model
from trainers.reward.reward import Reward, no_progress

RewardFunction = Callable[[Sequence[Item]], Sequence[float] | np.ndarray]  # one number for each (prompt, reply)

LEAST_JUDGMENTS = 50  # to fit a reward model to
IDEAL_WORDS = 40


def length(items: Sequence[Item]) -> np.ndarray:
    """0 for a reply of ``IDEAL_WORDS`` words, and 1 less for each time that it is longer or shorter by a factor of e."""
    words = np.array([max(len(reply.split()), 1) for _, reply in items], float)
    return -np.abs(np.log(words / IDEAL_WORDS))


def facts(items: Sequence[Item]) -> np.ndarray:
    """Minus the number of things that the reply states and its prompt does not support."""
    values = values_of([prompt for prompt, _ in items])
    return -np.array([float(len(unsupported(prompt, reply, values))) for prompt, reply in items])


RULES: dict[str, RewardFunction] = {"length": length, "facts": facts}


def reward_function(
    rewards: Mapping[str, float],
    preferences: Sequence[Preference],
    ratings: Sequence[Rating],
    settings: Settings,
    folder: Path,
) -> RewardFunction:
    """The weighted sum of the sources.

    Parameters
    ----------
    rewards : weights by source
    preferences, ratings : what reward models are fitted to
    folder : for reward models; a model that was fitted here before is read again, so that a resumed training has the same reward

    Raises
    ------
    ConfigurationError
        A source does not exist.
    DataRefused
        There are too few judgments, or the reward model has not passed its checks; the message gives the reasons.
    """
    sources = [(weight, _source(name, preferences, ratings, settings, folder)) for name, weight in rewards.items()]

    def total(items: Sequence[Item]) -> np.ndarray:
        parts = [weight * np.asarray(source(items), float) for weight, source in sources]
        return np.asarray(sum(parts))

    return sources[0][1] if len(sources) == 1 and sources[0][0] == 1 else total


def _source(name: str, preferences: Sequence[Preference], ratings: Sequence[Rating], settings: Settings, folder: Path) -> RewardFunction:
    if name in RULES:
        return RULES[name]
    if name in by_name("kind of reward model", table.REWARD_MODELS):
        return _fitted(name, preferences, ratings, settings, folder / name).scores
    if ":" in name:
        return _imported(name)
    from trainers.reward.model import RewardModel
    from trainers.reward.validation import read_report

    if not Path(name).is_dir():
        kinds = ", ".join([*RULES, *(row.name for row in table.REWARD_MODELS)])
        raise ConfigurationError(
            f"rewards: {name!r} is none of {kinds}, no module:function and no folder of a reward model; set it in [ppo.rewards]"
        )
    report = read_report(Path(name))
    if reason := checks.refusal(report.checks if report is not None else ()):
        raise DataRefused(f"{name}: the reward model may not train a policy: {reason}")
    return RewardModel.load(name, settings).reward.scores


def _fitted(kind: str, preferences: Sequence[Preference], ratings: Sequence[Rating], settings: Settings, folder: Path) -> Reward:
    from trainers.audits.reward.reward_probes import ProbeLimits
    from trainers.audits.table import gates_section
    from trainers.reward.model import RewardModel

    if folder.is_dir():
        return RewardModel.load(folder, settings).reward
    decisive = sum(each.choice != "tie" for each in preferences)
    if decisive < LEAST_JUDGMENTS:
        raise DataRefused(f"{decisive} decisive comparisons are too few for a reward model; at least {LEAST_JUDGMENTS} are needed")
    partial = folder.with_name(f"{folder.name}.part")
    model = guarded_model(table.reward_model(kind).fitter(settings, no_progress).fit(preferences, partial), preferences, ratings, settings)
    limits: Any = settings.section("gates", gates_section())
    found = checks.checked(model, preferences, limits.name_contrast, ProbeLimits())
    if reason := checks.refusal(found):
        raise DataRefused(f"a {kind} fitted to these judgments may not train a policy: {reason}")
    model.save(partial)
    partial.rename(folder)
    return model


def _imported(name: str) -> RewardFunction:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"rewards: {name!r} cannot be imported ({error}); set it in [ppo.rewards]") from error
    if not callable(found):
        raise ConfigurationError(f"rewards: {name!r} is no function")
    function: RewardFunction = found
    return function
