"""The reward model's Python interface: fit, save, load, score."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from storage.errors import ConfigurationError, DataRefused
from storage.events import Message
from storage.settings import Common, Settings
from trainers.audits.evidence import training_head
from trainers.data.messages import messages_in
from trainers.data.preference import Preference
from trainers.features.embedding import Embedding
from trainers.features.settings import FeatureSettings
from trainers.reward.online.checkpoint import load, save
from trainers.reward.online.head import Head, Prediction, predict
from trainers.reward.online.settings import HeadSettings

Prompt = str | Sequence[Message | Mapping[str, Any]]


class RewardModel:
    """The online head with its embedding.

    Attributes
    ----------
    head : the head; ``head.weights`` are the features' weights, ``(d,)``
    """

    def __init__(self, head: Head, embedding: Embedding) -> None:
        if head.embedding_hash != embedding.hash:
            raise ConfigurationError(
                f"this reward model was trained on the embedding {head.embedding_hash[:12]}… and not on {embedding.hash[:12]}…; "
                "use the [features] settings of its training"
            )
        self.head, self._embedding = head, embedding

    @classmethod
    def fit(cls, data: str | Path | Iterable[Preference], settings: Settings | None = None) -> "RewardModel":
        """Train on the training stratum of a file, of a snapshot's folder, or of preferences.

        Raises
        ------
        ConfigurationError
            There is nothing readable at ``data``.
        DataRefused
            It holds no preference to train on.
        """
        from trainers.data.records import read_preferences

        settings = settings or Settings(Common())
        preferences = read_preferences(Path(data)).preferences if isinstance(data, str | Path) else tuple(data)
        if not any(each.stratum == "training" for each in preferences):
            raise DataRefused("there is no preference of the training stratum to train on")
        embedding = _embedding(settings)
        return cls(training_head(preferences, embedding, settings.section("learning", HeadSettings)), embedding)

    @classmethod
    def load(cls, path: str | Path, settings: Settings | None = None) -> "RewardModel":
        """Read a model that :meth:`save` or the stream's learner has written.

        Raises
        ------
        ArtifactError
            The file is damaged or of another formulation.
        ConfigurationError
            It was trained on another embedding.
        """
        return cls(load(Path(path)), _embedding(settings or Settings(Common())))

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file, with its history in a folder beside it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save(self.head, Path(path))

    def score(self, prompt: Prompt, replies: Sequence[str]) -> np.ndarray:
        """Rewards of the replies, ``(n,)``, in log-odds. Only their differences within one prompt mean anything."""
        features = self._embedding.features([(_messages(prompt), reply) for reply in replies])
        return np.asarray(features.astype(float) @ self.head.weights)

    def compare(self, prompt: Prompt, a: str, b: str) -> Prediction:
        """The predicted answer of a recruiter: probabilities of A, tie and B, with mean and variance of the log-odds, ``(1,)`` each."""
        features = self._embedding.features([(_messages(prompt), a), (_messages(prompt), b)])
        return predict(self.head, features[:1] - features[1:])


def _embedding(settings: Settings) -> Embedding:
    from trainers.features.embedder import Embedder

    return Embedder.load(settings.section("features", FeatureSettings))


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message(role="user", content=prompt),)
    return messages_in([each.model_dump() if isinstance(each, Message) else each for each in prompt], "prompt")
