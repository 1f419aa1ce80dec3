"""Training and evaluation from Python, without bus or hub: what ``feedbackloop train`` and ``feedbackloop evaluate`` call.

Data is a file of preference records (JSONL, gzipped or not, Parquet) or a snapshot's folder. Nothing is published; results lie in the
folder that is given. The work itself is that of the pipeline.
"""

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from storage.events import Identifier
from storage.settings import Common, Settings
from trainers.audits.trial import ModelRef, Models
from trainers.data.bad_lines import DataSummary
from trainers.data.preference import to_train_on
from trainers.models.model_files import adapter_base, is_adapter
from trainers.policy.dpo import DPOSettings, Trained
from trainers.runs import stages
from trainers.runs.data import RunData
from trainers.runs.pipeline import write_whole
from trainers.runs.report import Report
from trainers.runs.settings import RunSettings

DPOConfig = DPOSettings  # the name that people who train from Python look for

Progress = Callable[[str, int, int, dict[str, float]], None]
OnData = Callable[[DataSummary], None]


def no_progress(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
    """No-op progress callback."""


def train_policy(
    settings: Settings,
    data: Path,
    model: str,
    out: Path,
    progress: Progress = no_progress,
    on_data: OnData | None = None,
    *,
    method: str = "dpo",
) -> Trained:
    """Train an adapter on ``model`` from the training stratum of ``data`` into ``out/policy``.

    Parameters
    ----------
    on_data : called with what was read, and what was refused, before training starts
    method : a row of ``trainers.policy.methods``

    Raises
    ------
    ConfigurationError, ModelNotFound
        ``data`` or ``model`` is not there, or there is no such method.
    DataRefused
        Not one line of ``data`` is a record, or there is too little to train on.
    """
    own = RunSettings.read(settings, method)
    assert own.method is not None
    found = _read(data, on_data)
    out.mkdir(parents=True, exist_ok=True)
    return own.method.train(model, to_train_on(found.preferences), own.training, out, _stage("train", progress))


def evaluate_policy(
    settings: Settings,
    data: Path,
    model: str,
    champion: str,
    out: Path,
    progress: Progress = no_progress,
    on_data: OnData | None = None,
) -> Report:
    """Hold ``model`` against ``champion`` by the evaluation stratum of ``data``, through the gates; the report goes to ``out/report.json``.

    Parameters
    ----------
    model, champion : a folder with an adapter or a model, a Hugging Face id, or ``shipped``. The KL budget is counted from the model below
        the challenger's adapter; from the champion where the challenger has none
    on_data : called with what was read, and what was refused, before any model is loaded

    Raises
    ------
    ConfigurationError, ModelNotFound
        Something is not there.
    DataRefused
        Not one line of ``data`` is a record, or the evaluation stratum holds nothing to judge by.
    """
    own = RunSettings.read(settings, None)
    found = _read(data, on_data)
    folder = Path(model).expanduser()
    below = adapter_base(folder) if is_adapter(folder) else None
    models = Models(ModelRef(model), ModelRef(champion), ModelRef(below or champion))
    trials = found.prompts(own.evaluation.prompts)
    sampled = stages.sample(trials, None, models, own.evaluation, _stage("sample", progress))
    evaluated = stages.evaluate(found, trials, sampled, models, own, 0, _stage("evaluate", progress))
    about = {
        "run_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{found.digest} {model} {champion}")),
        "version": model,
        "policy": None,
        "base": below or model,
        "champion": champion,
        "champion_policy": None,
        "challengers_before": 0,
    }
    report = stages.judge(found, None, sampled, evaluated, own, about)
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "report.json", report.model_dump_json(indent=1).encode())
    return report


def _read(data: Path, on_data: OnData | None) -> RunData:
    found = RunData.read(data)
    if on_data is not None:
        on_data(found.summary)
    return found


def _stage(name: str, progress: Progress) -> stages.Say:
    def say(step: int, steps: int, metrics: Mapping[str, float] | None = None, artifacts: Mapping[str, str] | None = None) -> None:
        progress(name, step, steps, dict(metrics or {}))

    return say


class RLHFConfig(BaseModel):
    """What to train from and how.

    Attributes
    ----------
    model : a folder, a Hugging Face id, or ``shipped``
    method : a row of ``trainers.policy.methods``
    sections : settings laid over the defaults, by section, as ``feedbackloop.toml`` has them: ``{"evaluation": {"prompts": 200}}``
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "shipped"
    method: Identifier = "dpo"
    sections: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings(Common(model=self.model), self.sections)


class RLHFTrainer:
    """Trains a policy on preferences and holds it against the model that it was trained from."""

    def __init__(self, config: RLHFConfig | None = None) -> None:
        self.config = config or RLHFConfig()

    def train(self, data: str | Path, out: str | Path, progress: Progress = no_progress) -> Report:
        """The report on the trained policy, whose adapter lies in ``out/policy`` and whose report in ``out/report.json``.

        Raises
        ------
        ConfigurationError, ModelNotFound, DataRefused
            As :func:`train_policy` and :func:`evaluate_policy`.
        """
        own, model = self.config.settings, self.config.model
        trained = train_policy(own, Path(data), model, Path(out), progress, method=self.config.method)
        return evaluate_policy(own, Path(data), str(trained.adapter), model, Path(out), progress)


class DPOTrainer:
    """Trains an adapter by direct preference optimisation."""

    def __init__(self, config: DPOConfig | None = None) -> None:
        self.config = config or DPOConfig()

    def train(self, data: str | Path, out: str | Path, model: str = "shipped", progress: Progress = no_progress) -> Trained:
        """The adapter in ``out/policy``, trained on ``model`` from the training stratum of a file or a snapshot's folder.

        Raises
        ------
        ConfigurationError, ModelNotFound, DataRefused
            As :func:`train_policy`.
        """
        own = Settings(Common(model=model), {"dpo": self.config.model_dump()})
        return train_policy(own, Path(data), model, Path(out), progress)
