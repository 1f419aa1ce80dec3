"""The online head as a reward model: trained on records at once, with the prior that predicts them best."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from storage.errors import ConfigurationError, DataRefused
from storage.settings import Settings
from trainers.audits.evidence import training_head, with_features
from trainers.data.preference import Features, Preference
from trainers.features.embedding import Embedding, Item, Remembering
from trainers.features.settings import FeatureSettings
from trainers.reward.online.checkpoint import load, save
from trainers.reward.online.head import Head, Prediction, predict
from trainers.reward.online.settings import HeadSettings
from trainers.reward.prior_choice import chosen_prior

FILE = "head.safetensors"  # in the folder of a saved model
EMBED_BATCH = 64


class HeadReward:
    """A head with its embedding.

    Attributes
    ----------
    head : the head; ``head.weights`` are the features' weights, ``(d,)``
    about : the prior that was chosen
    """

    def __init__(self, head: Head, embedding: Embedding) -> None:
        if head.embedding_hash != embedding.hash:
            raise ConfigurationError(
                f"this reward model was trained on the embedding {head.embedding_hash[:12]}… and not on {embedding.hash[:12]}…; "
                "use the [features] settings of its training"
            )
        self.head, self._embedding = head, embedding
        self.about: Mapping[str, float | str] = {"prior_scale": head.settings.prior_scale, "guard_share": head.settings.guard_share}

    @classmethod
    def load(cls, path: Path, settings: Settings) -> "HeadReward":
        """Read a head that :meth:`save` or the stream's learner has written.

        Raises
        ------
        ArtifactError
            The file is damaged or of another formulation.
        ConfigurationError
            It was trained on another embedding.
        """
        return cls(load(path / FILE if path.is_dir() else path), _embedder(settings))

    def features(self, items: Sequence[Item]) -> np.ndarray:
        """The features of (prompt, reply) pairs, ``(n, d)``."""
        return np.asarray(self._embedding.features(items), float)

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """See :class:`trainers.reward.reward.Reward`."""
        return np.asarray(self.features(items) @ self.head.weights)

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        """See :class:`trainers.reward.reward.Reward`."""
        features = self.features([*first, *second])
        return predict(self.head, features[: len(first)] - features[len(first) :])

    def save(self, path: Path) -> Path:
        """Write the head and its history to the folder ``path``."""
        path.mkdir(parents=True, exist_ok=True)
        save(self.head, path / FILE)
        return path


class HeadFitter:
    """Trains heads on the same embedded texts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.section("learning", HeadSettings)
        self._embedding = Remembering(_embedder(settings))

    def fit(self, preferences: Sequence[Preference], folder: Path) -> HeadReward:
        """See :class:`trainers.reward.reward.Fitter`; nothing is written to ``folder``."""
        if not preferences:
            raise DataRefused("there is no preference of the training stratum to train on")
        rows = [
            replace(each, features=Features(self._embedding.hash, a, b), stratum="training")
            for start in range(0, len(preferences), EMBED_BATCH)
            for some in (preferences[start : start + EMBED_BATCH],)
            for each, a, b in zip(some, *with_features(some, self._embedding), strict=True)
        ]
        return HeadReward(training_head(rows, self._embedding, chosen_prior(rows, self._settings)), self._embedding)


def _embedder(settings: Settings) -> Embedding:
    from trainers.features.embedder import Embedder

    return Embedder.load(settings.section("features", FeatureSettings))
