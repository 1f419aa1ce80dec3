"""What each stage of a run does: its inputs in, a record out that the pipeline keeps. No stage looks at another's files."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from storage.artifacts import Artifacts
from storage.errors import DataRefused
from storage.events import GateResult, Message, Verdict
from storage.snapshots.snapshot import Snapshot, open_snapshot
from trainers.audits.gates.verdict import Evidence, gate, verdict
from trainers.audits.trial import Found, Replies, try_out
from trainers.data.preference import to_train_on
from trainers.data.snapshots import TrialPrompt, preferences_of, trial_prompts
from trainers.features.embedder import Embedder
from trainers.models.generation import Policy, generate, load_policy
from trainers.policy.dpo import train_dpo
from trainers.runs.job import Job, base_hash, file_hash
from trainers.runs.report import Data, Lineage, Report, Shares, Training


class Say(Protocol):
    """Reports step, steps and metrics of the stage at work."""

    def __call__(self, step: int, steps: int, metrics: dict[str, float] | None = None) -> None: ...


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Checked(_Record):
    """The snapshot holds what it should: so many judgments and prompts, and so many judgments that training goes without."""

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


class Sampled(_Record):
    """The replies to the trial's prompts, in its order."""

    challenger: tuple[str, ...]
    champion: tuple[str, ...]
    again: tuple[str, ...]


class Evaluated(_Record):
    """What the trial found."""

    found: Found


class Judged(_Record):
    """The gates' results, and the report in the artifact store."""

    report: str
    gates: tuple[GateResult, ...]
    verdict: Verdict


class Models:
    """The three models of a run, each loaded when first asked for. A champion without an adapter is the base model itself."""

    def __init__(self, base: str, challenger: Path, champion: Path | None) -> None:
        self._base, self._challenger, self._champion = base, challenger, champion

    @cached_property
    def base(self) -> Policy:
        return load_policy(self._base)

    @cached_property
    def challenger(self) -> Policy:
        return load_policy(self._base, self._challenger)

    @cached_property
    def champion(self) -> Policy:
        return load_policy(self._base, self._champion) if self._champion else self.base


def check(job: Job, say: Say) -> Checked:
    """Hold the snapshot against its expectations.

    Raises
    ------
    DataRefused
        With the names of the expectations that failed.
    """
    from storage.snapshots.expectations import check as expectations

    say(0, 1)
    snapshot = open_snapshot(job.snapshot)
    failures = expectations(snapshot)
    if failures:
        raise DataRefused("the snapshot fails its expectations: " + "; ".join(f"{name}: {detail}" for name, detail in failures))
    say(1, 1, {"left_out": snapshot.overlap} if snapshot.overlap else None)
    return Checked(judgments=len(snapshot.preferences), prompts=len(snapshot.prompts), overlap=snapshot.overlap)


def train(job: Job, folder: Path, artifacts: Artifacts, say: Say) -> TrainedPolicy:
    """Train the challenger from the base model and keep its adapter."""
    rows = to_train_on(preferences_of(open_snapshot(job.snapshot)))
    trained = train_dpo(job.base, rows, job.dpo, folder, lambda step, steps, metrics: say(step, steps, dict(metrics)))
    policy = artifacts.put(trained.adapter)
    return TrainedPolicy(policy=policy, version=f"v-{policy[:12]}", rows=trained.rows, steps=trained.steps, metrics=dict(trained.metrics))


def sample(job: Job, models: Models, say: Say) -> Sampled:
    """Let both models answer the trial's prompts.

    What the champion answered there while it served is its sample: it was drawn at the serving temperature.
    """
    trials = _trials(job, open_snapshot(job.snapshot))
    prompts = [trial.prompt for trial in trials]
    unanswered = [i for i, trial in enumerate(trials) if trial.version != job.champion]
    twice = prompts[: job.evaluation.null_prompts]
    steps, done, seed = len(prompts) + len(unanswered) + len(twice), 0, job.evaluation.seed

    def replies(policy: Policy, asked: Sequence[tuple[Message, ...]], number: int) -> list[str]:
        nonlocal done
        before = done
        spoken = generate(policy, asked, job.evaluation.sampling, 3 * seed + number, progress=lambda n, _: say(before + n, steps))
        done += len(asked)
        return spoken

    say(0, steps)
    challenger = replies(models.challenger, prompts, 0)
    champion = [trial.reply for trial in trials]
    if unanswered:
        for i, reply in zip(unanswered, replies(models.champion, [prompts[i] for i in unanswered], 1), strict=True):
            champion[i] = reply
    again = replies(models.champion, twice, 2) if twice else []
    return Sampled(challenger=tuple(challenger), champion=tuple(champion), again=tuple(again))


def evaluate(job: Job, models: Models, sampled: Sampled, say: Say) -> Evaluated:
    """Gather the evidence that the gates ask for."""
    snapshot = open_snapshot(job.snapshot)
    prompts = tuple(trial.prompt for trial in _trials(job, snapshot))
    found = try_out(
        Replies(prompts, sampled.challenger, sampled.champion, sampled.again),
        preferences_of(snapshot),
        Embedder.load(job.features),
        (models.challenger, models.champion, models.base),
        job.evaluation,
        job.learning,
        job.challengers_before,
        say,
    )
    return Evaluated(found=found)


def judge(job: Job, checked: Checked, trained: TrainedPolicy, found: Found, artifacts: Artifacts, say: Say) -> Judged:
    """Put the evidence to the gates and write the report."""
    say(0, 1)
    snapshot = open_snapshot(job.snapshot)
    results = gate(Evidence.of(found), job.limits)
    judgments = preferences_of(snapshot)
    training = [judgment for judgment in judgments if judgment.stratum == "training"]
    report = Report(
        run_id=job.run_id,
        version=trained.version,
        policy=trained.policy,
        base=job.base,
        champion=job.champion,
        champion_policy=job.champion_policy.name if job.champion_policy else None,
        challengers_before=job.challengers_before,
        lineage=Lineage(
            snapshot=file_hash(job.snapshot / "manifest.json"),
            through_sequence=snapshot.manifest.through_sequence,
            sources=tuple(snapshot.manifest.sources),
            embedding=found.embedding,
            embedding_hash=found.embedding_hash,
            reward_head=found.reward_head,
            base_hash=base_hash(job.base),
        ),
        data=Data(
            training_judgments=len(training),
            decisive=len(to_train_on(training)),
            used=trained.rows,
            evaluation_judgments=found.win_rate.judgments,
            evaluation_recruiters=found.win_rate.recruiters,
            prompts=found.win_rate.prompts,
            overlap=checked.overlap,
        ),
        training=Training(rows=trained.rows, steps=trained.steps, metrics=trained.metrics),
        sampling=job.evaluation.sampling,
        settings=job.settings,
        gates=results,
        verdict=verdict(results),
        **findings(found),
    )
    judged = Judged(report=artifacts.put_bytes(report.model_dump_json(indent=1).encode()), gates=results, verdict=report.verdict)
    say(1, 1)
    return judged


def findings(found: Found) -> dict[str, Any]:
    """The fields of a report that a trial fills."""
    return {
        "win_rate": found.win_rate,
        "kl_base": found.kl_base,
        "kl_champion": found.kl_champion,
        "wrong_facts": _shares(found.wrong, found.wrong_examples),
        "improper": _shares(found.improper, found.improper_examples),
        "contrasts": found.contrasts,
        "replies": found.replies,
    }


def _shares(flags: tuple[list[bool], list[bool]], examples: tuple[str, ...]) -> Shares:
    challenger, champion = (float(np.mean(each)) for each in flags)
    return Shares(challenger=challenger, champion=champion, n=len(flags[0]), examples=examples)


def _trials(job: Job, snapshot: Snapshot) -> list[TrialPrompt]:
    return trial_prompts(snapshot, job.evaluation.prompts)
