"""From a frozen snapshot to an evaluated challenger, stage by stage: check, train, sample, evaluate, gates.

The trainer process calls :func:`run` for each claimed run. A stage's result is written to the run's folder atomically and a finished stage
is not repeated, so that a killed run resumes where it was. The policy and the report go to the artifact store.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.artifacts import Artifacts
from storage.errors import TrainingError
from storage.events import GateResult, Message, Verdict, problems
from storage.files import write_atomic
from trainers.audits.trial import ModelRef, Models
from trainers.runs import stages as stage
from trainers.runs.data import RunData
from trainers.runs.job import Job
from trainers.runs.texts import changed_report, sealing

__all__ = ["STAGES", "Outcome", "run"]

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int, dict[str, float], dict[str, str]], None]  # stage, step, steps, metrics, artifacts by name
STAGES = ("check", "train", "sample", "evaluate", "gates")

StageResult = TypeVar("StageResult", bound=BaseModel)


class Outcome(BaseModel):
    """The challenger's version, its policy and report in the artifact store, the gates' results, and the seconds of each stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    policy: str
    report: str
    gates: tuple[GateResult, ...]
    verdict: Verdict
    seconds: dict[str, float]


def run(job: Job, folder: Path, artifacts: Artifacts, progress: Progress) -> Outcome:
    """Run the job's remaining stages and return its outcome.

    Parameters
    ----------
    folder : for this run only; holds one file for each finished stage, and a stage's unfinished work
    progress : called at each step; an exception that it raises ends the run, which resumes when ``run`` is called again

    Raises
    ------
    DataRefused
        An expectation on the snapshot failed, or it holds too little.
    TrainingError, ModelNotFound, ArtifactError
        As raised by the stages.
    """
    stages = _Stages(folder, job.hash(), progress)
    settings = job.settings

    @cache
    def data() -> RunData:  # a resumed run may not need it
        return RunData.read(job.data, job.texts)

    @cache
    def prompts() -> list[tuple[Message, ...]]:
        return data().prompts(settings.evaluation.prompts)

    stages.do("check", stage.Checked, lambda report_progress: stage.check(data(), artifacts, report_progress))
    trained = stages.do(
        "train",
        stage.TrainedPolicy,
        lambda report_progress: stage.train(
            job.base,
            data(),
            settings,
            folder / "training",
            artifacts,
            report_progress,
            job.cache,
            sealing(job.run_id, "replies", job.texts),
        ),
    )
    models = Models(ModelRef(job.base, artifacts.get(trained.policy)), job.champion_ref, ModelRef(job.base))
    sampled = stages.do(
        "sample", stage.Sampled, lambda report_progress: stage.sample(prompts(), models, settings.evaluation, report_progress)
    )
    reward = None
    if settings.trains_reward:
        reward = stages.do(
            "reward",
            stage.TrainedReward,
            lambda report_progress: stage.train_reward(data(), settings, folder / "reward", artifacts, report_progress),
        )
    reward_folder = artifacts.get(reward.reward) if reward is not None else None
    evaluated = stages.do(
        "evaluate",
        stage.Evaluated,
        lambda report_progress: stage.audited(
            stage.trial_of(data(), prompts(), sampled, models, settings, job.challengers_before, report_progress, reward_folder),
            report_progress,
        ),
    )

    def judge(report_progress: stage.StageProgress) -> stage.Judged:
        report_progress(0, 1)
        about = {
            "run_id": job.run_id,
            "version": trained.version,
            "policy": trained.policy,
            "base": job.base,
            "champion": job.champion,
            "champion_policy": job.champion_policy.name if job.champion_policy else None,
            "challengers_before": job.challengers_before,
            "reward_model": reward.reward if reward is not None else None,
        }
        report = stage.judge(data(), trained, sampled, evaluated, settings, about)
        sealed = changed_report(report, sealing(job.run_id, "report", job.texts))
        stored_report = artifacts.put_bytes(sealed.model_dump_json(indent=1).encode())
        report_progress(1, 1)
        return stage.Judged(report=stored_report, gates=report.gates, verdict=report.verdict)

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
    """Runs each stage of a job once: its result is stored in ``folder/STAGE.json`` with the job's hash and the seconds it took.

    A result in a form that this version cannot read, because another version wrote it, is made again, and so are those of later stages.
    """

    def __init__(self, folder: Path, job: str, progress: Progress) -> None:
        self._folder, self._job, self._progress = folder, job, progress
        self.seconds: dict[str, float] = {}
        self._repeat = False
        folder.mkdir(parents=True, exist_ok=True)

    def do(self, name: str, model: type[StageResult], work: Callable[[stage.StageProgress], StageResult]) -> StageResult:
        path = self._folder / f"{name}.json"
        if path.is_file() and not self._repeat:
            previous = orjson.loads(path.read_bytes())
            if previous["job"] != self._job:
                raise TrainingError(
                    f"{self._folder}: its {name} stage was done for another job (other data, champion or settings); "
                    "give each job its own folder"
                )
            try:
                finished = model.model_validate_json(orjson.dumps(previous["result"]))
            except ValidationError as error:
                log.warning("%s: written by another version (%s); repeating the run from here", path, problems(error.errors()))
                self._repeat = True
            else:
                self.seconds[name] = previous["seconds"]
                if previous.get("artifacts"):  # stages written by older versions have none
                    self._progress(name, 1, 1, {}, previous["artifacts"])
                return finished
        started = time.monotonic()
        stored: dict[str, str] = {}

        def report_progress(
            step: int, steps: int, metrics: Mapping[str, float] | None = None, artifacts: Mapping[str, str] | None = None
        ) -> None:
            stored.update(artifacts or {})
            self._progress(name, step, steps, dict(metrics or {}), dict(stored))

        result = work(report_progress)
        self.seconds[name] = round(time.monotonic() - started, 3)
        record = {"job": self._job, "seconds": self.seconds[name], "artifacts": stored, "result": orjson.loads(result.model_dump_json())}
        write_atomic(path, orjson.dumps(record))
        return result
