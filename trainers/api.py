"""Train and evaluate without a bus or hub. ``feedbackloop train`` and ``feedbackloop evaluate`` call these functions, and so does the
Python API in :mod:`trainers.rlhf`.

Data is a file of records (JSONL, gzipped or not, or Parquet), a snapshot's folder, or records that are read already. Nothing is published;
results are written to the given output folder. The work is done by the pipeline's stages.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage.files import write_atomic
from storage.settings import Settings
from storage.texts.texts import Texts
from trainers.audits.trial import Models
from trainers.data.bad_lines import DataSummary
from trainers.data.demonstration import Demonstration
from trainers.data.rating import Rating
from trainers.evaluation.contender import Contender, model_ref
from trainers.evaluation.settings import MeasureSettings
from trainers.evaluation.subject import Subject
from trainers.evaluation.table import measure_all
from trainers.evaluation.tasks import TaskSet
from trainers.policy.preflight import output_folder
from trainers.policy.train import train
from trainers.policy.training import Trained, TrainingInputs
from trainers.runs import stages
from trainers.runs.data import RunData
from trainers.runs.report import Report
from trainers.runs.settings import RunSettings

Progress = Callable[[str, int, int, dict[str, float]], None]
OnData = Callable[[DataSummary], None]


def no_progress(stage: str, step: int, steps: int, metrics: dict[str, float]) -> None:
    """No-op progress callback."""


def train_policy(
    settings: Settings,
    data: Path | RunData,
    model: str,
    out: Path,
    progress: Progress = no_progress,
    on_data: OnData | None = None,
    *,
    method: str = "dpo",
    ratings: Sequence[Rating] | None = None,
    rewrites: Sequence[Demonstration] | None = None,
) -> Trained:
    """Train an adapter for ``model`` on the training stratum of ``data`` and write it to ``out/policy``.

    Parameters
    ----------
    on_data : called with the counts of accepted and rejected records before training starts
    method : name of a row in ``trainers.policy.methods``
    ratings, rewrites : thumbs on single replies, and replies to imitate; None for those in ``data``

    Raises
    ------
    ConfigurationError, ModelNotFound
        ``data`` or ``model`` does not exist, or the method is unknown.
    DataRefused
        No line of ``data`` is a valid record, or there are too few to train on.
    """
    run_settings = RunSettings.read(settings, method, model)
    assert run_settings.method is not None
    run_data = _read(data, settings, on_data)
    if ratings is not None:
        run_data = replace(run_data, rated=tuple(ratings))
    if rewrites is not None:
        run_data = replace(run_data, demonstrated=tuple(rewrites))
    training = TrainingInputs.of(model, run_data, run_settings.training, settings, out, _stage("train", progress))
    return train(run_settings.method, training)


def evaluate_policy(
    settings: Settings,
    data: Path | RunData,
    model: str | Contender,
    champion: str | Contender,
    out: Path,
    progress: Progress = no_progress,
    on_data: OnData | None = None,
    *,
    measures: MeasureSettings | None = None,
    tasks: TaskSet | None = None,
) -> Report:
    """Evaluate ``model`` against ``champion`` on the evaluation stratum of ``data``, apply the gates and write ``out/report.json``.

    Parameters
    ----------
    model, champion : the folder of an adapter or a model, a Hugging Face id, or ``shipped``. The KL budget is measured against the base
        model of the challenger's adapter, or against the champion if the challenger is not an adapter
    on_data : called with the counts of accepted and rejected records before any model is loaded
    measures : how much to sample for the further figures of ``trainers.evaluation``; None for the gates only
    tasks : conversations whose truth is known, for one of these figures

    Raises
    ------
    ConfigurationError, ModelNotFound
        A file or model does not exist.
    DataRefused
        No line of ``data`` is a valid record, or the evaluation stratum has no prompts or judgments.
    """
    output_folder(out)
    run_settings = RunSettings.read(settings, None)
    run_data = _read(data, settings, on_data)
    ours, theirs = (each if isinstance(each, Contender) else Contender.of(each) for each in (model, champion))
    models = Models(ours.ref, theirs.ref, theirs.ref if ours.is_whole else model_ref(ours.base))
    prompts = run_data.prompts(run_settings.evaluation.prompts)
    sampled = stages.sample(prompts, models, run_settings.evaluation, _stage("sample", progress))
    progress_of_audits = _stage("evaluate", progress)
    trial = stages.trial_of(run_data, prompts, sampled, models, run_settings, 0, progress_of_audits)
    evaluated = stages.audited(trial, progress_of_audits)
    found: dict[str, Any] = {}
    if measures is not None:
        measured = measure_all(Subject(trial, run_data, measures, tasks), lambda name: _stage(name, progress))
        found = {name: each.model_dump(mode="json") for name, each in measured.items()}
    about = {
        "run_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{run_data.digest} {ours.name} {theirs.name}")),
        "version": ours.name,
        "policy": ours.policy,
        "base": ours.base,
        "champion": theirs.name,
        "champion_policy": theirs.policy,
        "challengers_before": 0,
        "measures": found,
    }
    report = stages.judge(run_data, None, sampled, evaluated, run_settings, about)
    write_atomic(out / "report.json", report.model_dump_json(indent=1).encode())
    return report


def _read(data: Path | RunData, settings: Settings, on_data: OnData | None) -> RunData:
    run_data = RunData.read(data, Texts.of(settings)) if isinstance(data, Path) else data
    if on_data is not None:
        on_data(run_data.summary)
    return run_data


def _stage(name: str, progress: Progress) -> stages.StageProgress:
    def report(step: int, steps: int, metrics: Mapping[str, float] | None = None, artifacts: Mapping[str, str] | None = None) -> None:
        progress(name, step, steps, dict(metrics or {}))

    return report
