"""The stages of a run: functions from inputs to a record that the pipeline stores. No stage reads another's files."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict

from storage.artifacts import Artifacts
from storage.errors import DataRefused
from storage.events import GateResult, Message, Verdict
from trainers.audits.settings import EvaluationSettings
from trainers.audits.table import gate, measure, read_findings, verdict
from trainers.audits.trial import ModelRef, Models, Replies, Trial
from trainers.data.preference import decisive_training_rows
from trainers.features.embedder import Embedder
from trainers.features.embedding import Remembering
from trainers.models.engine import generate
from trainers.models.references import base_hash
from trainers.policy.reply_samples import REPLIES, ReplySamples
from trainers.policy.train import train as train_policy
from trainers.policy.training import CachePlace, TrainingInputs
from trainers.policy.training_curve import CurvePoint
from trainers.policy.training_manifest import library_versions
from trainers.policy.workarounds import keep_freed_memory
from trainers.reward.guarded import guarded
from trainers.reward.table import reward_model
from trainers.reward.validation import MODEL, RewardReport, fitted_and_validated
from trainers.runs.data import RunData
from trainers.runs.report import Data, Lineage, PairedReply, Report, Training
from trainers.runs.settings import RunSettings
from trainers.runs.texts import Change, changed_samples


class StageProgress(Protocol):
    """Reports step, steps and metrics of the current stage, and the artifacts that it has stored, by name."""

    def __call__(
        self, step: int, steps: int, metrics: Mapping[str, float] | None = None, artifacts: Mapping[str, str] | None = None
    ) -> None: ...


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Checked(_Record):
    """The snapshot meets its expectations; its number of judgments, prompts, and training judgments left out as overlap."""

    judgments: int
    prompts: int
    overlap: int = 0


class TrainedPolicy(_Record):
    """The adapter in the artifact store, and the version's name."""

    policy: str
    version: str
    rows: int
    steps: int
    metrics: dict[str, float]
    too_long: int = 0
    curve: tuple[CurvePoint, ...] = ()
    stopped: str | None = None


class TrainedReward(_Record):
    """The reward model in the artifact store, and its validation."""

    reward: str
    report: RewardReport


class Sampled(_Record):
    """The replies to the evaluation prompts, in their order."""

    challenger: tuple[str, ...]
    champion: tuple[str, ...]
    base: tuple[str, ...]


class Evaluated(_Record):
    """The audits' findings as JSON by name, and some of the replies side by side."""

    findings: dict[str, Any]
    replies: tuple[PairedReply, ...]
    embedding: str
    embedding_hash: str
    reward_head: str


class Judged(_Record):
    """The gates' results, and the report in the artifact store."""

    report: str
    gates: tuple[GateResult, ...]
    verdict: Verdict


def check(data: RunData, artifacts: Artifacts, progress: StageProgress) -> Checked:
    """Validate the snapshot against its expectations, and store the results with their Data Docs as the artifact ``data_docs``.

    Raises
    ------
    DataRefused
        Names the expectations that failed.
    """
    from storage.snapshots.expectations import check as expectations

    progress(0, 1)
    snapshot = data.snapshot
    assert snapshot is not None
    with tempfile.TemporaryDirectory() as scratch:
        failures = expectations(snapshot, Path(scratch) / "data-docs")
        progress(
            1, 1, {"left_out": snapshot.overlap} if snapshot.overlap else None, {"data_docs": artifacts.put(Path(scratch) / "data-docs")}
        )
    if failures:
        raise DataRefused("the snapshot fails its expectations: " + "; ".join(f"{name}: {detail}" for name, detail in failures))
    return Checked(judgments=len(snapshot.preferences), prompts=len(snapshot.prompts), overlap=snapshot.overlap)


def train(
    base: str,
    data: RunData,
    settings: RunSettings,
    folder: Path,
    artifacts: Artifacts,
    progress: StageProgress,
    cache: CachePlace | None = None,
    sealed: Change = str,
) -> TrainedPolicy:
    """Train the challenger from the base model with the run's method, and store its adapter.

    The replies over the training are stored with their texts ``sealed``.
    """
    assert settings.method is not None
    keep_freed_memory()
    samples = folder / REPLIES

    def report(step: int, steps: int, metrics: Mapping[str, float]) -> None:
        stored = {}
        if samples.is_file():
            found = changed_samples(ReplySamples.model_validate_json(samples.read_bytes()), sealed)
            stored["replies"] = artifacts.put_bytes(found.model_dump_json().encode())
        progress(step, steps, metrics, stored or None)

    trained = train_policy(settings.method, TrainingInputs.of(base, data, settings.training, settings.as_settings(), folder, report, cache))
    policy = artifacts.put(trained.adapter)
    return TrainedPolicy(
        policy=policy,
        version=f"v-{policy[:12]}",
        rows=trained.rows,
        steps=trained.steps,
        metrics=dict(trained.metrics),
        too_long=trained.too_long,
        curve=trained.curve,
        stopped=trained.stopped,
    )


def train_reward(data: RunData, settings: RunSettings, folder: Path, artifacts: Artifacts, progress: StageProgress) -> TrainedReward:
    """Train the reward model that the settings name, validate it, and store it as the artifact ``reward_model``."""
    keep_freed_memory()
    kind = settings.evaluation.reward
    report = fitted_and_validated(
        data.preferences, settings.as_settings(), kind, folder, ratings=data.ratings, progress=progress, cross_validate=False
    )
    stored = artifacts.put(folder / MODEL)
    progress(1, 1, {"accuracy": report.held_out.accuracy.value}, {"reward_model": stored})
    return TrainedReward(reward=stored, report=report.model_copy(update={"saved": None}))


def sample(prompts: Sequence[tuple[Message, ...]], models: Models, settings: EvaluationSettings, progress: StageProgress) -> Sampled:
    """Sample the replies of challenger, champion and base to the evaluation prompts, at the same settings and with the same random numbers.

    Models with equal references are sampled once. Common random numbers make the difference between two models more precise than
    independent ones do (Glasserman and Yao 1992, "Some guidelines and guarantees for common random numbers").
    """
    keep_freed_memory()
    names = {ref: name for name, ref in models.refs.items()}  # one of each reference
    steps = len(names) * len(prompts)
    progress(0, steps)
    sampled: dict[ModelRef, tuple[str, ...]] = {}
    for ref, name in names.items():

        def report_progress(done: int, _: int, before: int = len(sampled) * len(prompts)) -> None:
            progress(before + done, steps)

        sampled[ref] = tuple(generate(models.get(name), prompts, settings.sampling, settings.seed, progress=report_progress))
    models.release()
    return Sampled(**{name: sampled[ref] for name, ref in models.refs.items()})


def trial_of(
    data: RunData,
    prompts: Sequence[tuple[Message, ...]],
    sampled: Sampled,
    models: Models,
    settings: RunSettings,
    challengers_before: int,
    progress: StageProgress,
    reward: Path | None = None,
) -> Trial:
    """The evidence of the audits. ``reward`` is the folder of the run's own reward model, which is audited instead of the head."""
    return Trial(
        Replies(tuple(prompts), sampled.challenger, sampled.champion, sampled.base),
        data.preferences,
        Remembering(Embedder.load(settings.features)),
        models,
        settings.evaluation,
        settings.learning,
        challengers_before,
        progress,
        data.groups,
        guarded(reward_model(settings.evaluation.reward).load(reward, settings.as_settings()), reward) if reward is not None else None,
    )


def audited(trial: Trial, progress: StageProgress) -> Evaluated:
    """The findings of every audit on the trial."""
    findings = measure(trial, progress)
    trial.models.release()
    return Evaluated(
        findings={name: orjson.loads(finding.model_dump_json()) for name, finding in findings.items()},
        replies=_side_by_side(trial.replies, trial.reward_differences, trial.settings.seed),
        embedding=trial.embedding.name,
        embedding_hash=trial.embedding.hash,
        reward_head=trial.training_head.head_id,
    )


def judge(
    data: RunData, trained: TrainedPolicy | None, sampled: Sampled, evaluated: Evaluated, settings: RunSettings, about: Mapping[str, Any]
) -> Report:
    """Apply the gates to the findings and build the report; ``about`` are its fields that name the run and its models."""
    results = gate(read_findings(evaluated.findings), settings.gates)
    held_out = [each for each in data.preferences if each.stratum == "evaluation"]
    return Report(
        **about,
        lineage=Lineage(
            snapshot=data.digest,
            through_sequence=data.through_sequence,
            sources=data.sources,
            embedding=evaluated.embedding,
            embedding_hash=evaluated.embedding_hash,
            reward_head=evaluated.reward_head,
            base_hash=base_hash(about["base"]),
            versions=library_versions(),
        ),
        data=Data(
            training_judgments=len(data.preferences) - len(held_out),
            decisive=len(decisive_training_rows(data.preferences)),
            used=trained.rows if trained is not None else None,
            evaluation_judgments=len(held_out),
            evaluation_recruiters=len({each.recruiter for each in held_out}),
            prompts=len(sampled.challenger),
            overlap=data.overlap,
        ),
        training=Training.model_validate(trained.model_dump(exclude={"policy", "version"})) if trained is not None else None,
        sampling=settings.evaluation.sampling,
        settings=settings.as_json(),
        findings=evaluated.findings,
        replies=evaluated.replies,
        gates=results,
        verdict=verdict(results),
    )


def _side_by_side(replies: Replies, differences: np.ndarray, seed: int) -> tuple[PairedReply, ...]:
    """The five pairs that are worst for the challenger, and five others at random."""
    order = np.argsort(differences, kind="stable")
    worst = [int(i) for i in order[:5]]
    others = [int(i) for i in order[5:]]
    drawn = np.random.default_rng(seed).permutation(len(others))[:5]
    chosen = [(i, "worst") for i in worst] + [(others[j], "random") for j in drawn]
    return tuple(
        PairedReply(
            prompt=replies.prompts[i],
            challenger=replies.challenger[i],
            champion=replies.champion[i],
            reward_difference=float(differences[i]),
            chosen_as="worst" if how == "worst" else "random",
        )
        for i, how in chosen
    )
