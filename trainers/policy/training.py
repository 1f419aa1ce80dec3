"""What a training method is given, and what it returns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.settings import Settings
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.policy.training_curve import CurvePoint

if TYPE_CHECKING:
    from trainers.runs.data import RunData

Progress = Callable[[int, int, Mapping[str, float]], None]  # step, steps, metrics


@dataclass(frozen=True)
class CachePlace:
    """Where the reference's log-probabilities are kept from one training to the next, and the secret that hides whose they are."""

    folder: Path
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of one training. All data are of the training stratum.

    Attributes
    ----------
    base : the model to train, as accepted by :func:`trainers.models.references.resolve_model`; also the reference
    preferences : comparisons, ties included
    ratings : thumbs and "neither"
    demonstrations : replies to imitate, such as recruiters' rewrites
    digest : SHA-256 of the data: of the snapshot's manifest, or of the file
    settings : of the method's own section
    sections : all other settings, such as those of the reward model that PPO trains against
    folder : for this training only; the adapter is written to ``folder/policy``, an interrupted training resumes from what lies there
    progress : called with step, steps and metrics; an exception that it raises ends the training
    cache : of the reference's log-probabilities; by default that of :class:`trainers.policy.reference_cache.ReferenceCache`
    """

    base: str
    preferences: Sequence[Preference]
    ratings: Sequence[Rating]
    demonstrations: Sequence[Demonstration]
    digest: str
    settings: Any
    sections: Settings
    folder: Path
    progress: Progress
    cache: CachePlace | None = None

    @classmethod
    def of(
        cls,
        base: str,
        data: "RunData",
        settings: Any,
        sections: Settings,
        folder: Path,
        progress: Progress,
        cache: CachePlace | None = None,
    ) -> "TrainingInputs":
        """The inputs without the evaluation stratum's data."""
        return cls(
            base,
            [each for each in data.preferences if each.stratum == "training"],
            [each for each in data.ratings if each.stratum == "training"],
            [each for each in data.demonstrations if each.stratum == "training"],
            data.digest,
            settings,
            sections,
            folder,
            progress,
            cache,
        )


@dataclass(frozen=True)
class Trained:
    """The finished adapter, the number of rows and steps, and the last logged metrics.

    ``too_long`` rows were dropped, because a reply and a minimum of its prompt do not fit into ``max_length`` together. ``curve`` is what
    a governor measured on the way, ``stopped`` why it ended the training early.
    """

    adapter: Path
    rows: int
    steps: int
    metrics: Mapping[str, float]
    too_long: int = 0
    curve: tuple[CurvePoint, ...] = ()
    stopped: str | None = None
