"""The reward model's Python interface: fit, save, load, score, compare, rerank."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.special import expit

from storage.errors import ArtifactError, InputRefused
from storage.events import Message
from storage.settings import Common, Settings
from storage.texts.texts import Texts
from trainers.data.messages import messages_in
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.reward import table
from trainers.reward.guarded import guarded, guarded_model
from trainers.reward.online.head import Prediction
from trainers.reward.reward import Reward, no_progress

Prompt = str | Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True)
class Ranked:
    """A document's place in the list that was ranked, and the probability that it is preferred to the average one."""

    index: int
    relevance_score: float


class RewardModel:
    """A reward model of any kind.

    Attributes
    ----------
    reward : the model itself, such as :class:`trainers.reward.head_reward.HeadReward`, within its guards where it was fitted here
    """

    def __init__(self, reward: Reward) -> None:
        self.reward = reward

    @classmethod
    def fit(
        cls,
        data: str | Path | Iterable[Preference],
        settings: Settings | None = None,
        *,
        kind: str = "head",
        ratings: Iterable[Rating] | None = None,
    ) -> "RewardModel":
        """Train on the training stratum of a file, of a snapshot's folder, or of preferences.

        Parameters
        ----------
        ratings : single replies called good or not, for the absolute term; None for those of the snapshot, if ``data`` is one

        Raises
        ------
        ConfigurationError
            There is nothing readable at ``data``, or there is no such kind.
        DataRefused
            It holds too few preferences to train on.
        """
        from trainers.data.records import read_preferences
        from trainers.data.snapshots import ratings_in

        chosen = settings or Settings(Common())
        if isinstance(data, str | Path):
            with closing(Texts.here() if settings is None else Texts.of(settings)) as texts:
                preferences, rated = read_preferences(Path(data), texts).preferences, ratings_in(Path(data), texts)
        else:
            preferences, rated = tuple(data), []
        rated = rated if ratings is None else list(ratings)
        training = [each for each in preferences if each.stratum == "training"]
        with TemporaryDirectory() as folder:
            model = table.reward_model(kind).fitter(chosen, no_progress).fit(training, Path(folder))
            return cls(guarded_model(model, training, rated, chosen))

    @classmethod
    def load(cls, path: str | Path, settings: Settings | None = None) -> "RewardModel":
        """Read a model of any kind that :meth:`save` has written, or the stream's learner.

        Raises
        ------
        ArtifactError
            There is none, or it is damaged or of another version.
        ConfigurationError
            It was trained on another embedding.
        """
        place = Path(path)
        for row in table.REWARD_MODELS:
            if (place / row.file).is_file() or place.is_file():  # a single file is the learner's head, the first row
                return cls(guarded(row.load(place, settings or Settings(Common())), place))
        files = ", ".join(row.file for row in table.REWARD_MODELS)
        raise ArtifactError(f"{place}: no reward model is there: a folder with one of {files} is needed")

    def save(self, path: str | Path) -> Path:
        """Write the model to the folder ``path``, which is returned."""
        return self.reward.save(Path(path))

    def score(self, prompt: Prompt, replies: Sequence[str]) -> np.ndarray:
        """Rewards of the replies, ``(n,)``, in log-odds. Only their differences within one prompt mean anything."""
        messages = _messages(prompt)
        return self.reward.scores([(messages, reply) for reply in replies])

    def compare(self, prompt: Prompt, a: str, b: str) -> Prediction:
        """The predicted answer of a recruiter: probabilities of A, tie and B, with mean and variance of the log-odds, ``(1,)`` each."""
        messages = _messages(prompt)
        return self.reward.compare([(messages, a)], [(messages, b)])

    def rerank(self, prompt: Prompt, documents: Sequence[str], top_n: int | None = None) -> list[Ranked]:
        """The documents as replies to the prompt, the best first; equal ones stay in their order.

        Raises
        ------
        InputRefused
            A document is empty.
        """
        for place, document in enumerate(documents):
            if not document.strip():
                raise InputRefused(f"documents.{place}: is empty; leave it out", "documents")
        if not documents:
            return []
        rewards = self.score(prompt, documents)
        relevance = expit(rewards - rewards.mean())
        order = np.argsort(-relevance, kind="stable")[:top_n]
        return [Ranked(int(i), float(relevance[i])) for i in order]


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    if isinstance(prompt, str):
        return (Message(role="user", content=prompt),)
    return messages_in([each.model_dump() if isinstance(each, Message) else each for each in prompt], "prompt")
