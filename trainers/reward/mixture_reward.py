"""The mixture of objectives as a reward model, so that it is validated, checked, saved and used as any other.

Within a prompt the replies are compared with their mean: a reply whose floored objective may be much worse than that is ranked after all
that are not. A single reply to a prompt is compared with itself, and never vetoed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import expit

from storage.errors import ArtifactError, ConfigurationError, DataRefused
from storage.settings import Settings
from trainers.data.preference import Preference
from trainers.features.embedding import Item
from trainers.reward.head_reward import HeadFitter, HeadReward
from trainers.reward.mixing import MixingSettings, Mixture, mixture_of
from trainers.reward.online.head import Prediction, predict

FILE = "mixture.json"
HEAD = "head"  # folder of the head
VETO = 100.0  # spreads by which a vetoed reply is moved: out of the range of any other, and still a number


class MixtureCard(BaseModel):
    """The content of ``mixture.json``: the settings, each objective's spread, and the hash of the reference pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: MixingSettings
    spreads: dict[str, float]
    reference: str


class MixtureReward:
    """A head with its mixture; ``mixture.head`` is the head of ``reward``."""

    def __init__(self, reward: HeadReward, mixture: Mixture) -> None:
        self._reward, self.mixture = reward, mixture

    @property
    def about(self) -> Mapping[str, float | str]:
        """The weights, the floor and the hash of the reference pairs."""
        settings = self.mixture.settings
        return {**settings.weights, "floor": settings.floor if settings.floored else "none", "reference": self.mixture.reference[:12]}

    @classmethod
    def load(cls, path: Path, settings: Settings) -> "MixtureReward":
        """Read a mixture that :meth:`save` has written.

        Raises
        ------
        ArtifactError
            There is none, or its head cannot be read.
        """
        try:
            card = MixtureCard.model_validate_json((path / FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(f"{path / FILE}: no mixture to be read there: {error}") from error
        reward = HeadReward.load(path / HEAD, settings)
        return cls(reward, Mixture(reward.head, card.settings, card.spreads, card.reference))

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """See :class:`trainers.reward.reward.Reward`; in units of the objectives' spreads."""
        features = self._reward.features(items)
        found = self.mixture.plain(features)
        prompts: dict[tuple[object, ...], list[int]] = {}
        for place, (prompt, _) in enumerate(items):
            prompts.setdefault(tuple(prompt), []).append(place)
        for places in prompts.values():
            found[places] -= found[places].mean()
            found[places] -= VETO * self.mixture.vetoed(features[places] - features[places].mean(axis=0))
        return found

    def scores_alone(self, items: Sequence[Item]) -> np.ndarray:
        """See :class:`trainers.reward.reward.Relative`: the weighted sum without the floored objective's veto."""
        return self.mixture.plain(self._reward.features(items))

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        """See :class:`trainers.reward.reward.Reward`; the mixture's scale is that of its objectives, so ties have no probability."""
        features = self._reward.features([*first, *second])
        differences = features[: len(first)] - features[len(first) :]
        mean = self.mixture.plain(differences) - VETO * (self.mixture.vetoed(differences).astype(float) - self.mixture.vetoed(-differences))
        variance = sum(
            (weight / self.mixture.spreads[objective]) ** 2 * predict(self.mixture.head, differences, objective).variance
            for objective, weight in self.mixture.settings.weights.items()
        )
        return Prediction(mean, np.asarray(variance, float), expit(mean), np.zeros(len(mean)), expit(-mean))

    def save(self, path: Path) -> Path:
        """Write ``mixture.json`` to the folder ``path``, and the head to a folder in it."""
        self._reward.save(path / HEAD)
        card = MixtureCard(settings=self.mixture.settings, spreads=dict(self.mixture.spreads), reference=self.mixture.reference)
        (path / FILE).write_bytes(orjson.dumps(card.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        return path


class MixtureFitter:
    """Trains the head of the section ``[learning]``, and mixes its objectives by the section ``[reward]``."""

    def __init__(self, settings: Settings) -> None:
        self._heads, self._mixing = HeadFitter(settings), settings.section("reward", MixingSettings)

    def fit(self, preferences: Sequence[Preference], folder: Path) -> MixtureReward:
        """See :class:`trainers.reward.reward.Fitter`; the reference pairs are those that are trained on.

        Raises
        ------
        DataRefused
            An objective with a weight has no judgments.
        """
        reward = self._heads.fit(preferences, folder)
        try:
            return MixtureReward(reward, mixture_of(reward.head, self._mixing, reward.head.history.differences()))
        except ConfigurationError as error:
            raise DataRefused(str(error)) from error
