"""The inputs of one training run: its data, its models and its settings."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import orjson

from storage.files import file_hash
from storage.texts.texts import PLAIN, Texts
from trainers.audits.trial import ModelRef
from trainers.models.references import base_hash
from trainers.policy.training import CachePlace
from trainers.runs.data import data_hash
from trainers.runs.settings import RunSettings


@dataclass(frozen=True)
class Job:
    """What to train, on which data, against which champion. If ``champion_policy`` is None the base model is the champion.

    ``data`` is a snapshot's folder or a file of preference records. ``texts`` opens a snapshot's texts. ``cache`` of the
    reference's log-probabilities changes no outcome.
    """

    run_id: str
    data: Path
    base: str
    champion: str
    champion_policy: Path | None
    challengers_before: int
    settings: RunSettings
    texts: Texts = PLAIN
    cache: CachePlace | None = None

    @property
    def champion_ref(self) -> ModelRef:
        return ModelRef(self.base, self.champion_policy)

    def hash(self) -> str:
        """SHA-256 of everything that decides the outcome; files count by their content."""
        policy = {p.name: file_hash(p) for p in sorted(self.champion_policy.iterdir())} if self.champion_policy else None
        inputs = [
            self.run_id, data_hash(self.data), self.base, base_hash(self.base), self.champion, policy, self.challengers_before,
            self.settings.freeze().hash(),
        ]  # fmt: skip
        return hashlib.sha256(orjson.dumps(inputs, option=orjson.OPT_SORT_KEYS)).hexdigest()
