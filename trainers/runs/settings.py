"""Every setting that decides a run's outcome, read from this installation or from the run's frozen settings."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from storage.errors import ConfigurationError
from storage.settings import Common, Settings
from trainers.audits.duel import DuelRule
from trainers.audits.settings import EvaluationSettings
from trainers.audits.table import audits, gates_section
from trainers.features.settings import FeatureSettings
from trainers.policy.methods import Method, method, sized
from trainers.reward.online.settings import HeadSettings
from trainers.reward.table import HEAD, REWARD_MODELS, reward_model
from trainers.runs.frozen import FrozenSettings
from trainers.runs.terms import ReviewRule


@dataclass(frozen=True)
class RunSettings:
    """How a run trains and judges, and how its version may become champion.

    Attributes
    ----------
    method, training : the training method and its own section; None where nothing is trained
    rewards : the sections of the reward models besides the head; empty where the run trains none, for its evaluation or for its method
    gates : the limits of every audit
    """

    method: Method | None
    training: BaseModel | None
    evaluation: EvaluationSettings
    rewards: dict[str, BaseModel]
    gates: BaseModel
    learning: HeadSettings
    features: FeatureSettings
    duel: DuelRule
    review: ReviewRule

    @classmethod
    def read(cls, settings: Settings, name: str | None, base: str | None = None) -> "RunSettings":
        """This installation's settings for a run of the method ``name``, or for an evaluation only if it is None.

        Defaults of the method depend on the size of ``base``, by default the installation's model.

        Raises
        ------
        ConfigurationError
            The method is unknown, or a section has an invalid key or value.
        """
        row = method(name) if name is not None else None
        evaluation = settings.section("evaluation", EvaluationSettings)
        training = sized(row, settings.section(row.name, row.settings), base or settings.common.model) if row is not None else None
        trains_rewards = reward_model(evaluation.reward).name != HEAD or hasattr(training, "rewards")
        kinds = REWARD_MODELS if trains_rewards else ()
        return cls(
            method=row,
            training=training,
            evaluation=evaluation,
            rewards={kind.section: settings.section(kind.section, kind.settings) for kind in kinds if kind.name != HEAD},
            gates=settings.section("gates", gates_section()),
            learning=settings.section("learning", HeadSettings),
            features=settings.section("features", FeatureSettings),
            duel=settings.section("duel", DuelRule),
            review=settings.section("review", ReviewRule),
        )

    def as_json(self) -> dict[str, Any]:
        """The settings as the report records them, by section."""
        sections: dict[str, BaseModel] = {
            "evaluation": self.evaluation,
            **self.rewards,
            "gates": self.gates,
            "learning": self.learning,
            "features": self.features,
            "duel": self.duel,
            "review": self.review,
        }
        if self.method is not None and self.training is not None:
            sections = {self.method.name: self.training, **sections}
        return {name: section.model_dump(mode="json") for name, section in sections.items()}

    @property
    def trains_reward(self) -> bool:
        """Whether the run trains a reward model beside the policy."""
        return self.evaluation.reward != HEAD

    def as_settings(self) -> Settings:
        """The same as :class:`Settings`."""
        return Settings(Common(), self.as_json(), origin="the run's settings")

    def freeze(self) -> FrozenSettings:
        """The settings to request a run with; the gates of all audits are required."""
        assert self.method is not None
        return FrozenSettings(method=self.method.name, sections=self.as_json(), required=tuple(audits()))

    @classmethod
    def of(cls, frozen: FrozenSettings) -> "RunSettings":
        """The settings that a run was requested with.

        Raises
        ------
        ConfigurationError
            This version has no such method, audit or setting, or has others that the request does not name.
        """
        found = cls.read(Settings(Common(), frozen.sections, origin="the run's settings"), frozen.method)
        sections = found.as_json()
        if other := sorted(name for name in sections.keys() | frozen.sections.keys() if sections.get(name) != frozen.sections.get(name)):
            raise ConfigurationError(
                f"the run was requested by another version of this program, which has other settings in {', '.join(other)}: "
                "request a new run"
            )
        return found
