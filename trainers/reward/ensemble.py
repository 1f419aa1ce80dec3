"""Several reward models as one: heads on resampled recruiters and, by setting, a transformer.

Members agree where there were many judgments and scatter where there were none, which is where a policy that is trained on a reward goes.
``min`` and ``mean - penalty * variance`` are the remedies for that of Coste et al. (2023), "Reward model ensembles help mitigate
overoptimization" (arXiv:2310.02743).
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.errors import ArtifactError
from storage.settings import Settings
from trainers.data.preference import Preference
from trainers.features.embedding import Item
from trainers.reward.online.head import Prediction
from trainers.reward.reward import Fitter, Reward, scores_alone

FILE = "ensemble.json"
Combination = Literal["mean", "min", "mean_minus_variance"]


class EnsembleSettings(BaseModel):
    """The section ``[ensemble]``.

    Attributes
    ----------
    heads : heads, each on judgments of recruiters drawn with replacement
    transformer : whether a transformer of the section ``[transformer]`` is one more member
    combination : how the members' scores become one
    penalty : factor of the variance in ``mean_minus_variance``; more is safer far from the judged replies, and worse near them
    seed : of the recruiters' draws
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    heads: Annotated[int, Field(ge=1, le=32)] = 5
    transformer: bool = False
    combination: Combination = "mean_minus_variance"
    penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    seed: int = 0


class EnsembleReward:
    """Members with their kinds, and how they are combined."""

    def __init__(self, members: Sequence[tuple[str, Reward]], combination: Combination, penalty: float) -> None:
        self.members, self._combination, self._penalty = tuple(members), combination, penalty

    @property
    def about(self) -> Mapping[str, float | str]:
        """How many members of which kind, and how they are combined."""
        kinds = [kind for kind, _ in self.members]
        return {f"{kind}s": float(kinds.count(kind)) for kind in sorted(set(kinds))} | {"combination": self._combination}

    @classmethod
    def load(cls, path: Path, settings: Settings) -> "EnsembleReward":
        """Read an ensemble that :meth:`save` has written.

        Raises
        ------
        ArtifactError
            There is none, or one of its members cannot be read.
        """
        from trainers.reward.table import reward_model

        try:
            card = EnsembleCard.model_validate_json((path / FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise ArtifactError(f"{path / FILE}: no ensemble to be read there: {error}") from error
        members = [(kind, reward_model(kind).load(path / str(n), settings)) for n, kind in enumerate(card.members)]
        return cls(members, card.combination, card.penalty)

    def scores(self, items: Sequence[Item]) -> np.ndarray:
        """See :class:`trainers.reward.reward.Reward`. Members are compared within a prompt, where each one's mean is set to zero."""
        each = np.array([member.scores(items) for _, member in self.members]).reshape(len(self.members), len(items))
        prompts: dict[tuple[object, ...], list[int]] = {}
        for place, (prompt, _) in enumerate(items):
            prompts.setdefault(tuple(prompt), []).append(place)
        for places in prompts.values():
            each[:, places] -= each[:, places].mean(axis=1, keepdims=True)
        return combined(each, self._combination, self._penalty)

    def scores_alone(self, items: Sequence[Item]) -> np.ndarray:
        """See :class:`trainers.reward.reward.Relative`: the members' mean, whatever the combination."""
        return np.asarray(np.mean([scores_alone(member, items) for _, member in self.members], axis=0))

    def compare(self, first: Sequence[Item], second: Sequence[Item]) -> Prediction:
        """See :class:`trainers.reward.reward.Reward`. Probabilities are the members' mean; ``mean`` is the difference of the scores."""
        found = [member.compare(first, second) for _, member in self.members]
        differences = np.array([each.mean for each in found])
        mean = combined(differences / 2, self._combination, self._penalty) - combined(-differences / 2, self._combination, self._penalty)
        variance = np.mean([each.variance for each in found], axis=0) + differences.var(axis=0)
        a, tie, b = (np.mean([getattr(each, name) for each in found], axis=0) for name in ("a", "tie", "b"))
        return Prediction(mean, variance, a, tie, b)

    def save(self, path: Path) -> Path:
        """Write each member to a folder of its own under ``path``, and ``ensemble.json``."""
        for n, (_, member) in enumerate(self.members):
            member.save(path / str(n))
        card = EnsembleCard(members=tuple(kind for kind, _ in self.members), combination=self._combination, penalty=self._penalty)
        (path / FILE).write_bytes(orjson.dumps(card.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        return path


class EnsembleCard(BaseModel):
    """The content of ``ensemble.json``: the members' kinds, in the order of their folders 0, 1, …"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[str, ...]
    combination: Combination
    penalty: float


def combined(scores: np.ndarray, combination: Combination, penalty: float) -> np.ndarray:
    """One score for each column of ``scores``, ``(members, n)``."""
    if combination == "min":
        return np.asarray(scores.min(axis=0))
    mean = scores.mean(axis=0)
    return np.asarray(mean - penalty * scores.var(axis=0) if combination == "mean_minus_variance" else mean)


class EnsembleFitter:
    """Trains the members of the section ``[ensemble]``; ``fitter_of`` makes the fitter of a kind."""

    def __init__(self, settings: Settings, fitter_of: Callable[[str], Fitter]) -> None:
        self._settings = settings.section("ensemble", EnsembleSettings)
        self._heads = fitter_of("head")
        self._transformer = fitter_of("transformer") if self._settings.transformer else None

    def fit(self, preferences: Sequence[Preference], folder: Path) -> EnsembleReward:
        """See :class:`trainers.reward.reward.Fitter`."""
        rng = np.random.default_rng(self._settings.seed)
        members: list[tuple[str, Reward]] = [
            ("head", self._heads.fit(resampled(preferences, rng), folder / str(n))) for n in range(self._settings.heads)
        ]
        if self._transformer is not None:
            members.append(("transformer", self._transformer.fit(preferences, folder / str(len(members)))))
        return EnsembleReward(members, self._settings.combination, self._settings.penalty)


def resampled(preferences: Sequence[Preference], rng: np.random.Generator) -> list[Preference]:
    """The preferences of recruiters drawn with replacement; of conversations, where fewer than three recruiters are known."""
    recruiters = sorted({each.recruiter for each in preferences if each.recruiter is not None})
    by_recruiter = len(recruiters) > 2
    groups: dict[str, list[Preference]] = {}
    for each in preferences:
        groups.setdefault((each.recruiter or "") if by_recruiter else each.conversation_id, []).append(each)
    names = sorted(groups)
    return [each for k in rng.integers(len(names), size=len(names)).tolist() for each in groups[names[k]]]
