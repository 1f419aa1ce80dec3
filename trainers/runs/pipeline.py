"""From a frozen snapshot to a judged challenger, stage by stage: check, train, sample, evaluate, gates.

The trainer process calls :func:`run` for each claimed run. What a stage found is written to the run's folder in one move, and a stage
that has finished is not done again, so that a run that was killed goes on where it was. The policy and the report go to the artifact store.
"""

import os
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict

from storage.artifacts import Artifacts
from storage.errors import TrainingError
from storage.events import GateResult, Verdict
from trainers.audits.trial import ModelRef, Models
from trainers.data.snapshots import TrialPrompt
from trainers.runs import stages as stage
from trainers.runs.data import RunData
from trainers.runs.job import Job

__all__ = ["STAGES", "Outcome", "run"]

Progress = Callable[[str, int, int, dict[str, float], dict[str, str]], None]  # stage, step, steps, metrics, artifacts by name
STAGES = ("check", "train", "sample", "evaluate", "gates")

Kept = TypeVar("Kept", bound=BaseModel)


class Outcome(BaseModel):
    """The challenger's name, its policy and report in the artifact store, what the gates said, and each stage's seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    policy: str
    report: str
    gates: tuple[GateResult, ...]
    verdict: Verdict
    seconds: dict[str, float]


def run(job: Job, folder: Path, artifacts: Artifacts, progress: Progress) -> Outcome:
    """Do what is left of the job's stages and return its outcome.

    Parameters
    ----------
    folder : the run's own; holds one file a finished stage, and whatever a stage has half done
    progress : called at each step; what it raises ends the run at that step, and calling ``run`` again goes on from there

    Raises
    ------
    DataRefused
        An expectation on the snapshot failed, or it holds too little.
    TrainingError, ModelNotFound, ArtifactError
        As the stages say.
    """
    stages = _Stages(folder, job.hash(), progress)
    settings = job.settings

    @cache
    def data() -> RunData:  # a run that goes on may need it for no stage
        return RunData.read(job.data)

    @cache
    def trials() -> list[TrialPrompt]:
        return data().prompts(settings.evaluation.prompts)

    stages.do("check", stage.Checked, lambda say: stage.check(data(), artifacts, say))
    trained = stages.do(
        "train", stage.TrainedPolicy, lambda say: stage.train(job.base, data(), settings, folder / "training", artifacts, say)
    )
    models = Models(ModelRef(job.base, artifacts.get(trained.policy)), job.champion_ref, ModelRef(job.base))
    sampled = stages.do("sample", stage.Sampled, lambda say: stage.sample(trials(), job.champion, models, settings.evaluation, say))
    evaluated = stages.do(
        "evaluate",
        stage.Evaluated,
        lambda say: stage.evaluate(data(), trials(), sampled, models, settings, job.challengers_before, say),
    )

    def judge(say: stage.Say) -> stage.Judged:
        say(0, 1)
        about = {
            "run_id": job.run_id,
            "version": trained.version,
            "policy": trained.policy,
            "base": job.base,
            "champion": job.champion,
            "champion_policy": job.champion_policy.name if job.champion_policy else None,
            "challengers_before": job.challengers_before,
        }
        report = stage.judge(data(), trained, sampled, evaluated, settings, about)
        kept = artifacts.put_bytes(report.model_dump_json(indent=1).encode())
        say(1, 1)
        return stage.Judged(report=kept, gates=report.gates, verdict=report.verdict)

    judged = stages.do("gates", stage.Judged, judge)
    return Outcome(
        version=trained.version,
        policy=trained.policy,
        report=judged.report,
        gates=judged.gates,
        verdict=judged.verdict,
        seconds=stages.seconds,
    )


class _Stages:
    """Does each stage once for a job: its result lies in ``folder/STAGE.json`` with the job's hash and the seconds it took."""

    def __init__(self, folder: Path, job: str, progress: Progress) -> None:
        self._folder, self._job, self._progress = folder, job, progress
        self.seconds: dict[str, float] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def do(self, name: str, model: type[Kept], work: Callable[[stage.Say], Kept]) -> Kept:
        path = self._folder / f"{name}.json"
        if path.is_file():
            kept = orjson.loads(path.read_bytes())
            if kept["job"] != self._job:
                raise TrainingError(
                    f"{self._folder}: its {name} stage was done for another job (other data, champion or settings); "
                    "give each job its own folder"
                )
            self.seconds[name] = kept["seconds"]
            if kept.get("artifacts"):  # a stage of an older program has none
                self._progress(name, 1, 1, {}, kept["artifacts"])
            return model.model_validate_json(orjson.dumps(kept["result"]))
        started = time.monotonic()
        put: dict[str, str] = {}

        def say(step: int, steps: int, metrics: Mapping[str, float] | None = None, artifacts: Mapping[str, str] | None = None) -> None:
            put.update(artifacts or {})
            self._progress(name, step, steps, dict(metrics or {}), dict(put))

        result = work(say)
        self.seconds[name] = round(time.monotonic() - started, 3)
        record = {"job": self._job, "seconds": self.seconds[name], "artifacts": put, "result": orjson.loads(result.model_dump_json())}
        write_whole(path, orjson.dumps(record))
        return result


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    half = path.with_name(f"{path.name}.part")
    with half.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)
