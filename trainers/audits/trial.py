"""The evidence that all audits of a challenger share: both models' replies to the same prompts, reward heads and features.

Embedding is the slowest part: each text is embedded once, and not at all where both models gave the same reply.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from storage.errors import DataRefused
from storage.events import Message
from trainers.audits.evidence import judged, reward_spread, stored_features, training_head
from trainers.audits.settings import EvaluationSettings
from trainers.data.preference import Preference
from trainers.features.embedding import Embedding, Item
from trainers.reward.guarded import without_floor
from trainers.reward.online.learn import Head
from trainers.reward.online.settings import HeadSettings
from trainers.reward.panel import Judged, Panel, fit_panel, scaled
from trainers.reward.reward import Reward, spread_of

if TYPE_CHECKING:
    from trainers.models.policy import Policy  # torch takes seconds to import, and wrong arguments of a command end it before that

EMBED_BATCH = 128  # texts embedded between two progress reports


@dataclass(frozen=True)
class ModelRef:
    """A model by its folder, id or ``shipped``, with an optional adapter."""

    ref: str
    adapter: Path | None = None

    def load(self) -> "Policy":
        from trainers.models.policy import load_policy

        return load_policy(self.ref, self.adapter)


class Models:
    """The three models of a trial, loaded when they are used. Equal references share one object.

    At most ``LOADED`` are in memory at a time, as many as an audit compares: a third takes the place of the one that was not used longest.
    """

    LOADED = 2

    def __init__(self, challenger: ModelRef, champion: ModelRef, base: ModelRef) -> None:
        self.refs = {"challenger": challenger, "champion": champion, "base": base}
        self._loaded: dict[ModelRef, Policy] = {}  # the last used one last

    def get(self, name: str) -> "Policy":
        """The model named ``challenger``, ``champion`` or ``base``; do not keep it beyond its use."""
        ref = self.refs[name]
        policy = self._loaded.pop(ref, None)
        while policy is None and len(self._loaded) >= self.LOADED:
            del self._loaded[next(iter(self._loaded))]
        self._loaded[ref] = policy if policy is not None else ref.load()
        return self._loaded[ref]

    def release(self) -> None:
        """Free the models at the end of a stage."""
        self._loaded.clear()

    @property
    def challenger(self) -> "Policy":
        return self.get("challenger")

    @property
    def champion(self) -> "Policy":
        return self.get("champion")

    @property
    def base(self) -> "Policy":
        return self.get("base")


@dataclass(frozen=True)
class Replies:
    """Prompts, and each model's reply to each, sampled at the same settings with the same random numbers."""

    prompts: tuple[tuple[Message, ...], ...]
    challenger: tuple[str, ...]
    champion: tuple[str, ...]
    base: tuple[str, ...]


class Vectors(NamedTuple):
    """Features of the replies, ``(m, d)`` each; zeros where both texts are equal and not embedded."""

    challenger: np.ndarray
    champion: np.ndarray


class Trial:
    """The input of every audit's measurement; heads and features are computed on first use.

    Parameters
    ----------
    preferences : of both strata; the head of the training stratum is audited, the evaluation stratum decides the win rate
    groups : the candidate's recorded groups by conversation, such as ``{"sex": "female"}``; empty where none are recorded
    reward : the reward model that ranks and trains; the head of the training stratum by default
    progress : called with step and steps while texts are embedded

    Raises
    ------
    DataRefused
        There are no prompts.
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
        groups: Mapping[str, Mapping[str, str]] | None = None,
        reward: Reward | None = None,
    ) -> None:
        if not replies.prompts:
            raise DataRefused("the evaluation stratum holds no prompts yet: nothing can be compared")
        self.replies, self.preferences, self.embedding, self.models = replies, preferences, embedding, models
        self.settings, self.learning, self.challengers_before = settings, learning, challengers_before
        self._progress = progress
        self.groups = groups or {}
        self._reward = reward

    @property
    def has_own_reward(self) -> bool:
        """Whether a reward model was passed, so that rewards are not those of the training stratum's head."""
        return self._reward is not None

    @property
    def prompts(self) -> tuple[tuple[Message, ...], ...]:
        return self.replies.prompts

    @cached_property
    def training_head(self) -> Head:
        """The head trained on the training stratum, which ranks replies and selects pairs."""
        return training_head(self.preferences, self.embedding, self.learning)

    def reward_scores(self, items: Sequence[Item]) -> np.ndarray:
        """The rewards of (prompt, reply) pairs that the audits of the reward look at, ``(n,)``."""
        if self._reward is not None:
            return self._reward.scores(items)
        return np.asarray(self.embedding.features(items).astype(float) @ self.training_head.weights)

    @cached_property
    def reward_spread(self) -> float:
        """The standard deviation of the reward's differences between judged replies of the training stratum."""
        if self._reward is None:
            return reward_spread(self.training_head)
        training = [each for each in self.preferences if each.stratum == "training"]
        return spread_of(without_floor(self._reward), training)

    @property
    def judged(self) -> Judged:
        """The evaluation stratum's judgments."""
        return self._judged[0]

    @property
    def judged_features(self) -> np.ndarray:
        """The features of the judged replies, ``(2 n, d)``."""
        return self._judged[1]

    @cached_property
    def _judged(self) -> tuple[Judged, np.ndarray]:
        found = judged(self.preferences, self.embedding)
        if not len(found[0]):
            raise DataRefused("the evaluation stratum holds no judgments yet: the win rate cannot be estimated")
        return found

    @cached_property
    def panel(self) -> Panel:
        """The recruiters' tastes as fitted on the evaluation stratum."""
        return fit_panel(self.judged)

    @cached_property
    def calibrated_panel(self) -> Panel:
        """The panel, scaled by its cross-validated slope where that is not 1."""
        return scaled(self.panel)[0]

    @cached_property
    def reward_differences(self) -> np.ndarray:
        """The panel's mean log-odds that the challenger's reply is preferred to the champion's, ``(m,)``."""
        return self.panel.margins(self.vectors.challenger - self.vectors.champion)

    @cached_property
    def vectors(self) -> Vectors:
        """The features of all replies."""
        replies = self.replies
        differing = [i for i, (ours, theirs) in enumerate(zip(replies.challenger, replies.champion, strict=True)) if ours != theirs]
        items = [(replies.prompts[i], text) for i in differing for text in (replies.challenger[i], replies.champion[i])]
        known = stored_features(self.preferences, self.embedding)
        fresh = [item for item in dict.fromkeys(items) if item not in known]
        for start in range(0, len(fresh), EMBED_BATCH):
            chunk = fresh[start : start + EMBED_BATCH]
            known.update(zip(chunk, self.embedding.features(chunk), strict=True))
            self._progress(min(start + EMBED_BATCH, len(fresh)), len(fresh))
        zero = np.zeros(self.embedding.dimension, "<f4")

        def stacked(texts: Sequence[str]) -> np.ndarray:
            return np.stack([known.get((prompt, text), zero) for prompt, text in zip(replies.prompts, texts, strict=False)])

        challenger, champion = stacked(replies.challenger), stacked(replies.champion)
        for i in set(range(len(challenger))) - set(differing):
            challenger[i] = champion[i]
        return Vectors(challenger, champion)
