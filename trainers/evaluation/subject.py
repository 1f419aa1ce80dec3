"""What every measure looks at: the trial that the audits share, the data it came from, and how much to sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from storage.events import Message
from trainers.audits.trial import Trial
from trainers.evaluation.measure import Model
from trainers.evaluation.settings import MeasureSettings
from trainers.evaluation.tasks import TaskSet
from trainers.models.engine import generate
from trainers.runs.data import RunData

MODELS: tuple[Model, ...] = ("challenger", "champion", "base")
Prompts = Sequence[tuple[Message, ...]]
Texts = tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """The input of every measure.

    Attributes
    ----------
    tasks : conversations with tasks whose success can be checked; None where there are none
    progress : called with step and steps while replies are sampled
    """

    trial: Trial
    data: RunData
    settings: MeasureSettings
    tasks: TaskSet | None = None
    progress: Callable[[int, int], None] = lambda step, steps: None

    @property
    def has_reward(self) -> bool:
        """Whether a reward was trained: an own model, or judgments of the training stratum for the head."""
        return self.trial.has_own_reward or any(each.stratum == "training" for each in self.data.preferences)

    @property
    def distinct(self) -> tuple[Model, ...]:
        """The names of ``MODELS`` without those that are the same model as an earlier one."""
        refs = self.trial.models.refs
        return tuple(name for i, name in enumerate(MODELS) if refs[name] not in [refs[before] for before in MODELS[:i]])

    def last_prompts(self, most: int) -> Prompts:
        """The newest prompts of the trial, at most ``most``."""
        return self.trial.prompts[-most:] if most else ()

    def replies(self, prompts: Prompts, numbers: Sequence[int]) -> dict[Model, Texts]:
        """The reply of each of ``MODELS`` to each prompt, at the trial's sampling settings; the same model is sampled once.

        Rows with equal ``numbers`` have common random numbers, in one model and across models.
        """
        refs = self.trial.models.refs
        models, seed = self.distinct, self.trial.settings.seed
        sampled = {refs[name]: self.sample(name, prompts, numbers, seed, (i, len(models))) for i, name in enumerate(models)}
        return {name: sampled[refs[name]] for name in MODELS}

    def sample(self, model: Model, prompts: Prompts, numbers: Sequence[int], seed: int, part: tuple[int, int] = (0, 1)) -> Texts:
        """The replies of one model; ``part`` is the number of this call and of all calls whose progress is reported together."""
        settings, (call, calls) = self.trial.settings, part

        def progress(done: int, total: int) -> None:
            self.progress(call * total + done, calls * total)

        return tuple(generate(self.trial.models.get(model), prompts, settings.sampling, seed, numbers=numbers, progress=progress))

    def rewards(self, prompts: Prompts, replies: Mapping[Model, Sequence[str]]) -> dict[Model, np.ndarray] | None:
        """The rewards of each model's replies, ``(n,)``, in standard deviations of the differences between judged replies.

        Only differences within one prompt mean anything. None without a reward, or one that is the same for all judged replies.
        """
        spread = self.trial.reward_spread if self.has_reward else 0.0
        if not spread:
            return None
        items = {name: list(zip(prompts, texts, strict=True)) for name, texts in replies.items()}
        distinct = list(dict.fromkeys(item for each in items.values() for item in each))
        scored = dict(zip(distinct, (self.trial.reward_scores(distinct) / spread).tolist(), strict=True))
        return {name: np.array([scored[item] for item in each]) for name, each in items.items()}
