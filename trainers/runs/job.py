"""What one training run has to do: its data, its models and every setting that decides the outcome."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from storage.settings import Settings
from trainers.audits.gates.limits import Limits
from trainers.audits.settings import EvaluationSettings
from trainers.features.embedder import FeatureSettings
from trainers.policy.dpo import DPOSettings
from trainers.reward.online.head import HeadSettings


@dataclass(frozen=True)
class Job:
    """What to train, on what, against whom. Where ``champion_policy`` is None the base model itself is the champion."""

    run_id: str
    snapshot: Path
    base: str
    champion: str
    champion_policy: Path | None
    challengers_before: int
    dpo: DPOSettings
    evaluation: EvaluationSettings
    limits: Limits
    learning: HeadSettings
    features: FeatureSettings

    @classmethod
    def read(
        cls,
        settings: Settings,
        *,
        run_id: str,
        snapshot: Path,
        champion: str,
        champion_policy: Path | None,
        challengers_before: int,
    ) -> "Job":
        """The job with this installation's settings.

        Raises
        ------
        ConfigurationError
            A section holds a wrong key or value.
        """
        return cls(
            run_id=run_id,
            snapshot=snapshot,
            base=settings.common.model,
            champion=champion,
            champion_policy=champion_policy,
            challengers_before=challengers_before,
            dpo=settings.section("dpo", DPOSettings),
            evaluation=settings.section("evaluation", EvaluationSettings),
            limits=settings.section("gates", Limits),
            learning=settings.section("learning", HeadSettings),
            features=settings.section("features", FeatureSettings),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that decides the outcome, as the report records it."""
        parts = {
            "dpo": self.dpo,
            "evaluation": self.evaluation,
            "gates": self.limits,
            "learning": self.learning,
            "features": self.features,
        }
        return {name: part.model_dump(mode="json") for name, part in parts.items()}

    def hash(self) -> str:
        """SHA-256 of everything that decides the outcome; files count by their content."""
        policy = {p.name: file_hash(p) for p in sorted(self.champion_policy.iterdir())} if self.champion_policy else None
        inputs = [
            self.run_id, file_hash(self.snapshot / "manifest.json"), self.base, base_hash(self.base), self.champion, policy,
            self.challengers_before, self.settings,
        ]  # fmt: skip
        return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()


def base_hash(ref: str) -> str | None:
    """SHA-256 over the files of a model's folder; None for a Hugging Face id, which names its content otherwise.

    For an adapter's folder, over the files of its base and its own.
    """
    from trainers.models.generation import layers

    base, adapters = layers(ref)
    files = {
        f"{number}/{path.name}" if number else path.name: file_hash(path)
        for number, folder in enumerate((Path(base), *adapters))
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.suffix in (".json", ".safetensors", ".bin", ".model")
    }
    return hashlib.sha256(orjson.dumps(files, option=orjson.OPT_SORT_KEYS)).hexdigest() if files else None


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
