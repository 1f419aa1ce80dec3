"""A challenger on trial: both models' replies to the same prompts, and everything that audits share about them.

Embedding is the slowest part: a text is embedded once, and where both models said the same, not at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from storage.errors import DataRefused
from storage.events import Message
from trainers.audits.evidence import judged, reward_spread, stored_features, training_head
from trainers.audits.settings import EvaluationSettings
from trainers.data.preference import Preference
from trainers.features.embedding import Embedding
from trainers.models.policy import Policy, load_policy
from trainers.reward.evaluation_head import EvaluationHeadSettings, Judged, fit
from trainers.reward.online.learn import Head
from trainers.reward.online.settings import HeadSettings

AT_ONCE = 128  # texts embedded between two reports of progress


@dataclass(frozen=True)
class ModelRef:
    """A model by its folder, id or ``shipped``, with the adapter to lay over it, if any."""

    ref: str
    adapter: Path | None = None

    def load(self) -> Policy:
        return load_policy(self.ref, self.adapter)


class Models:
    """The three models of a trial, each loaded when first asked for. Equal references give the same object."""

    def __init__(self, challenger: ModelRef, champion: ModelRef, base: ModelRef) -> None:
        self._refs = {"challenger": challenger, "champion": champion, "base": base}
        self._loaded: dict[ModelRef, Policy] = {}

    def _get(self, name: str) -> Policy:
        ref = self._refs[name]
        if ref not in self._loaded:
            self._loaded[ref] = ref.load()
        return self._loaded[ref]

    @property
    def challenger(self) -> Policy:
        return self._get("challenger")

    @property
    def champion(self) -> Policy:
        return self._get("champion")

    @property
    def base(self) -> Policy:
        return self._get("base")


@dataclass(frozen=True)
class Replies:
    """Prompts, the challenger's and the champion's reply to each, and the champion's second one to the first few."""

    prompts: tuple[tuple[Message, ...], ...]
    challenger: tuple[str, ...]
    champion: tuple[str, ...]
    again: tuple[str, ...]


class Vectors(NamedTuple):
    """Features of the replies, ``(m, d)`` each, of ``again`` ``(k, d)``. Zeros stand where both models gave the same text."""

    challenger: np.ndarray
    champion: np.ndarray
    again: np.ndarray | None


class Trial:
    """What audits measure.

    Parameters
    ----------
    preferences : both strata; the head of the training one is audited, the evaluation one says who wins
    progress : called with step and steps while texts are embedded

    Raises
    ------
    DataRefused
        There are no prompts to try models on.
    """

    def __init__(
        self,
        replies: Replies,
        preferences: Sequence[Preference],
        embedding: Embedding,
        models: Models,
        settings: EvaluationSettings,
        learning: HeadSettings,
        challengers_before: int,
        progress: Callable[[int, int], None],
    ) -> None:
        if not replies.prompts:
            raise DataRefused("the evaluation stratum holds no prompts yet: nothing can be compared")
        self.replies, self.preferences, self.embedding, self.models = replies, preferences, embedding, models
        self.settings, self.learning, self.challengers_before = settings, learning, challengers_before
        self._progress = progress

    @property
    def prompts(self) -> tuple[tuple[Message, ...], ...]:
        return self.replies.prompts

    @cached_property
    def training_head(self) -> Head:
        """The head after the training stratum: what ranks replies and chooses pairs."""
        return training_head(self.preferences, self.embedding, self.learning)

    @cached_property
    def reward_spread(self) -> float:
        """The standard deviation of its reward differences between judged replies."""
        return reward_spread(self.training_head)

    @property
    def judged(self) -> Judged:
        """The evaluation stratum's judgments."""
        return self._judged[0]

    @property
    def judged_features(self) -> np.ndarray:
        """The features of the replies that they judge, ``(2 n, d)``."""
        return self._judged[1]

    @cached_property
    def _judged(self) -> tuple[Judged, np.ndarray]:
        found = judged(self.preferences, self.embedding)
        if not len(found[0]):
            raise DataRefused("the evaluation stratum holds no judgments yet: nobody can say which replies are better")
        return found

    @cached_property
    def reward_differences(self) -> np.ndarray:
        """Reward of the challenger's reply minus the champion's by the evaluation head, ``(m,)``."""
        between = np.asarray(self.vectors.challenger - self.vectors.champion, float)
        return fit(self.judged, EvaluationHeadSettings(head=self.learning)).margins(between)

    @cached_property
    def vectors(self) -> Vectors:
        """The features of all replies."""
        replies = self.replies
        differing = [i for i, (ours, theirs) in enumerate(zip(replies.challenger, replies.champion, strict=True)) if ours != theirs]
        items = [(replies.prompts[i], text) for i in differing for text in (replies.challenger[i], replies.champion[i])]
        twice = [i for i, text in enumerate(replies.again) if text != replies.champion[i]]
        items += [(replies.prompts[i], text) for i in twice for text in (replies.champion[i], replies.again[i])]
        known = stored_features(self.preferences, self.embedding)
        fresh = [item for item in dict.fromkeys(items) if item not in known]
        for start in range(0, len(fresh), AT_ONCE):
            chunk = fresh[start : start + AT_ONCE]
            known.update(zip(chunk, self.embedding.features(chunk), strict=True))
            self._progress(min(start + AT_ONCE, len(fresh)), len(fresh))
        zero = np.zeros(self.embedding.dimension, "<f4")

        def stacked(texts: Sequence[str]) -> np.ndarray:
            return np.stack([known.get((prompt, text), zero) for prompt, text in zip(replies.prompts, texts, strict=False)])

        challenger, champion = stacked(replies.challenger), stacked(replies.champion)
        for i in set(range(len(challenger))) - set(differing):
            challenger[i] = champion[i]
        again = stacked(replies.again) if replies.again else None
        if again is not None:
            for i in set(range(len(again))) - set(twice):
                again[i] = champion[i]
        return Vectors(challenger, champion, again)
