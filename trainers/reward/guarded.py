"""A reward model with guards: tricks beyond what judged replies do cost reward, whatever the model thinks of them.

A reward model is right where recruiters have judged, and a policy that is trained on it, or a choice of the best of many, goes where they
have not. So for each statistic that a trick raises, the limit is what judged replies commonly reach (their 98th percentile); beyond it, a
reply loses ``COST`` spreads of the reward for each unit. The limits are learnt with the model and saved beside it. A reply in which the
rules of the audit of conduct find an unlawful question, a promise or an unlawful preference loses ``IMPROPER`` spreads more. So does one
that is probably not acceptable by recruiters' thumbs, once there are enough of them (``trainers.reward.absolute``). What the rules refuse
counts as below that floor too, so that it stays behind all other replies.

The tricks are those that optimised policies find: repetition, copying the question, lists, praise, words in no order, padding, shouting
(Gao et al., 2023, "Scaling Laws for Reward Model Overoptimization", for the phenomenon; the statistics are our own). The order of words is
read from English function words, so in other languages that guard sees nothing.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import expit

from storage.errors import ArtifactError
from storage.settings import Settings
from trainers.audits.content.conduct_rules import improper
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.features.embedding import Item
from trainers.features.guards import FLOOR, GUARDS, guards
from trainers.reward.absolute import FILE as ABSOLUTE
from trainers.reward.absolute import AbsoluteTerm
from trainers.reward.mixing import MixingSettings
from trainers.reward.online.head import Prediction
from trainers.reward.reward import Relative, Reward, scores_alone, spread_of

FILE = "guards.json"
COST = 2.0  # spreads of the reward for each unit beyond the limit
IMPROPER = 20.0  # spreads: after any other reply
QUANTILE = 0.98
MORE = ("disorder", "praise", "longest_run")
UNITS = np.append(FLOOR, [0.05, 0.3, 0.3])  # of each statistic: what is seen at a glance

_WORD = re.compile(r"[\w'’]+|[.?!]")
_DETERMINERS = frozenset({
    "a", "an", "the", "my", "your", "our", "their", "his", "its", "every"
})  # fmt: skip
_NO_NOUN = frozenset({
    "a", "an", "the", "my", "your", "our", "their", "his", "its", "is", "are", "was", "were", "am", "be", "been", "of", "to", "and",
    "or", "but", "in", "on", "at", "for", "with", "from", "by", "we", "you", "i", "it", "they", "he", "she", "will", "can", "may",
    "should", "would", "could", "has", "have", "had", "do", "does", "did", "that", "if", "when", "while", "not", ".", "?", "!"
})  # fmt: skip
_PRAISE = frozenset({
    "amazing", "awesome", "best", "brilliant", "excellent", "exceptional", "extraordinary", "fantastic", "flawless", "genius", "gifted",
    "great", "greatest", "impressed", "impressive", "incredible", "magnificent", "marvellous", "marvelous", "outstanding", "perfect",
    "phenomenal", "remarkable", "smart", "smartest", "splendid", "stellar", "stunning", "superb", "talented", "terrific", "truly",
    "unbelievable", "unique", "wonderful", "wise"
})  # fmt: skip


class GuardLimits(BaseModel):
    """The content of ``guards.json``: each statistic's limit, and the spread of the reward's differences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limits: dict[str, float]
    spread: float

    @classmethod
    def learnt(cls, model: Reward, preferences: Sequence[Preference]) -> "GuardLimits":
        """The limits of judged replies."""
        items = [(each.prompt, text) for each in preferences for text in (each.a, each.b)]
        found = np.quantile(statistics(items), QUANTILE, axis=0)
        return cls(limits=dict(zip((*GUARDS, *MORE), found.tolist(), strict=True)), spread=spread_of(model, preferences) or 1.0)

    def penalties(self, items: Sequence[Item], below_floor: np.ndarray | None = None) -> np.ndarray:
        """What each reply loses, ``(n,)``, in the reward's own units.

        Parameters
        ----------
        below_floor : whether the absolute term refuses the reply, bool ``(n,)``; None where there is no such floor
        """
        limits = np.array([self.limits[name] for name in (*GUARDS, *MORE)])
        beyond = np.maximum(statistics(items) - limits, 0) / UNITS
        refused = np.array([bool(improper(reply)) for _, reply in items], bool)
        reasons = refused.astype(float) if below_floor is None else refused.astype(float) + (refused | below_floor)
        return np.asarray(self.spread * (COST * beyond.sum(axis=1) + IMPROPER * reasons))


class GuardedReward:
    """``model`` with its guards, and the floor of its absolute term."""

    def __init__(self, model: Reward, guard: GuardLimits, absolute: AbsoluteTerm | None = None) -> None:
        self.model, self.guard, self.absolute = model, guard, absolute

    @property
    def about(self) -> Mapping[str, float | str]:
        """What was chosen in the model's training."""
        return self.model.about

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """See :class:`trainers.reward.reward.Reward`."""
        scores = self.model.scores(items)
        return np.asarray(scores - self._penalties(items, scores))

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        """See :class:`trainers.reward.reward.Reward`. Where the penalties are equal, the prediction is the model's."""
        found = self.model.compare(first, second)
        penalties = self._penalties([*first, *second])
        moved = penalties[len(first) :] - penalties[: len(first)]
        mean = found.mean + moved
        without_tie = 1 - found.tie
        share = np.clip(found.a / np.maximum(without_tie, 1e-12), 1e-12, 1 - 1e-12)
        a = np.where(moved == 0, found.a, without_tie * expit(np.log(share) - np.log1p(-share) + moved))
        return Prediction(mean, found.variance, a, found.tie, np.where(moved == 0, found.b, without_tie - a))

    def save(self, path: Path) -> Path:
        """Write the model to ``path``, and ``guards.json`` and ``absolute.json`` beside it."""
        self.model.save(path)
        (path / FILE).write_bytes(orjson.dumps(self.guard.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        (path / ABSOLUTE).unlink(missing_ok=True)  # of a model that was saved here before
        if self.absolute is not None:
            self.absolute.save(path)
        return path

    def _penalties(self, items: Sequence[Item], scores: np.ndarray | None = None) -> np.ndarray:
        """What each reply loses; ``scores`` are the model's, if they are known."""
        if self.absolute is None or self.absolute.unused is not None:
            return self.guard.penalties(items)
        if scores is None or isinstance(self.model, Relative):
            scores = scores_alone(self.model, items)
        return self.guard.penalties(items, self.absolute.below_floor(scores))


def guarded_model(model: Reward, preferences: Sequence[Preference], ratings: Sequence[Rating], settings: Settings) -> GuardedReward:
    """The model with guards learnt from the preferences that it was trained on, and an absolute term from the ratings."""
    absolute = AbsoluteTerm.learnt(model, preferences, ratings, settings.section("reward", MixingSettings))
    return GuardedReward(model, GuardLimits.learnt(model, preferences), absolute)


def without_floor(model: Reward) -> Reward:
    """The same without the absolute term, whose steps of ``IMPROPER`` spreads are no measure of how far judged replies lie apart."""
    return GuardedReward(model.model, model.guard) if isinstance(model, GuardedReward) else model


def guarded(model: Reward, path: Path) -> Reward:
    """The model that was read from ``path``, with the guards and the absolute term that were saved there, if any.

    Raises
    ------
    ArtifactError
        A file of theirs cannot be read.
    """
    if not (path / FILE).is_file():
        return model
    absolute = AbsoluteTerm.load(path)
    try:
        return GuardedReward(model, GuardLimits.model_validate_json((path / FILE).read_bytes()), absolute)
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path / FILE}: no guards to be read there: {error}") from error


def statistics(items: Sequence[Item]) -> np.ndarray:
    """The statistics of (prompt, reply) pairs in the order of ``GUARDS`` and ``MORE``, ``(n, 11)``."""
    found = [[*guards("\n".join(message.content for message in prompt), reply), *_more(reply)] for prompt, reply in items]
    return np.array(found).reshape(len(items), len(GUARDS) + len(MORE))


def _more(reply: str) -> tuple[float, float, float]:
    """Share of determiners that no noun can follow, log(1 + words of praise), log(1 + longest run of one word)."""
    words = _WORD.findall(reply.lower())
    followed = [after in _NO_NOUN for word, after in zip(words, [*words[1:], "."], strict=True) if word in _DETERMINERS]
    disorder = sum(followed) / max(len(followed), 3)
    run = longest = 0
    for word, before in zip(words, ["", *words], strict=False):
        run = run + 1 if word == before else 0
        longest = max(longest, run)
    return disorder, float(np.log1p(sum(word in _PRAISE for word in words))), float(np.log1p(longest))
