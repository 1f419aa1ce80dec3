"""Every setting that decides a run's outcome, under one hash."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

from storage.settings import Settings
from trainers.audits.settings import EvaluationSettings
from trainers.audits.table import by_name, gates_section
from trainers.features.settings import FeatureSettings
from trainers.policy.methods import Method, method
from trainers.reward.online.head import HeadSettings


@dataclass(frozen=True)
class RunSettings:
    """How a run trains and judges.

    Attributes
    ----------
    method, training : the training method and its own section; None where nothing is trained
    gates : the limits of every audit; the audits' gates are required of the run's evaluation
    """

    method: Method | None
    training: BaseModel | None
    evaluation: EvaluationSettings
    gates: BaseModel
    learning: HeadSettings
    features: FeatureSettings

    @classmethod
    def read(cls, settings: Settings, name: str | None) -> "RunSettings":
        """This installation's settings for a run of the method ``name``, or for an evaluation alone.

        Raises
        ------
        ConfigurationError
            There is no such method, or a section holds a wrong key or value.
        """
        row = method(name) if name is not None else None
        return cls(
            method=row,
            training=settings.section(row.name, row.settings) if row is not None else None,
            evaluation=settings.section("evaluation", EvaluationSettings),
            gates=settings.section("gates", gates_section()),
            learning=settings.section("learning", HeadSettings),
            features=settings.section("features", FeatureSettings),
        )

    @property
    def required(self) -> tuple[str, ...]:
        """The gates that an evaluation of the run must have."""
        return tuple(by_name())

    def as_json(self) -> dict[str, Any]:
        """The settings as the report records them, by section."""
        sections: dict[str, BaseModel] = {
            "evaluation": self.evaluation,
            "gates": self.gates,
            "learning": self.learning,
            "features": self.features,
        }
        if self.method is not None and self.training is not None:
            sections = {self.method.name: self.training, **sections}
        return {name: section.model_dump(mode="json") for name, section in sections.items()}

    def hash(self) -> str:
        """SHA-256 of the method, the sections and the required gates."""
        parts = [self.method.name if self.method is not None else None, self.as_json(), self.required]
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
