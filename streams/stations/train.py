"""Claims a frozen run, trains and evaluates it stage by stage, and publishes progress.

The first claim of an attempt on the log wins; a restarted trainer resumes its own claim at once, after the last stage it finished. The
work itself is ``trainers.runs.pipeline``; its result goes to ``models.versions`` for review.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from storage.errors import FeedbackLoopError, Overloaded, TrainingError, temporary_reason
from storage.events import GateResult, ModelEvaluated, RunClaimed, TrainingFailed, Verdict, derived_id, now
from streams import runs
from streams.bus.protocol import Bus, records_of
from streams.bus.quarantine import decoded
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, VERSIONS
from streams.child import Progress
from streams.runs import ATTEMPTS, Run, Runs, open_run
from streams.stations.contexts import TrainerContext
from streams.stations.heartbeat import Heartbeat, Interrupted
from streams.stations.runner import TIMEOUT, position_of

log = logging.getLogger(__name__)

TOPICS = (REQUESTED, FROZEN, PROGRESS, VERSIONS)
BATCH = 1_000
POLL_INTERVAL = 1.0  # seconds between reads of the log while a pipeline works
RETRY_BACKOFF = 5.0  # seconds, times the number of failed attempts


def build(context: TrainerContext) -> "Trainer":
    """The station for the table of consumers."""
    return Trainer(context.bus, context.home, context.name, context.train, context.stop)


@dataclass(frozen=True)
class Outcome:
    """Result of a run: the version's name, hashes of its policy and report, the gates' results and the verdict."""

    version: str
    policy: str
    report: str
    gates: tuple[GateResult, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Work:
    """A claimed run, and the folder of its finished stages."""

    run: Run
    folder: Path


Train = Callable[[Work, Progress], Outcome]


class Trainer:
    """Works on one run at a time: :meth:`step` reads the log, and claims a run or works on the one claimed."""

    def __init__(self, bus: Bus, home: Path, name: str, train: Train, stop: threading.Event) -> None:
        self._bus, self._home, self._name, self._train, self._stop = bus, home, name, train, stop
        self._after = position_of(bus, "", TOPICS)  # from the beginning: the state is in memory only
        self._runs: Runs = runs.fold(())
        self.busy: str | None = None

    def step(self, wait: float) -> None:
        while self._read(wait) == BATCH:
            wait = 0
        self._remove_folders_of_ended_runs()
        run = open_run(self._runs)
        if run is None or run.frozen is None or run.request is None:
            return
        run_id = run.frozen.run_id
        if run.trainer == self._name and run.failed is None:
            self._work(run)  # claimed before a restart
        elif run.is_free(now()) and not self._backing_off(run):
            if run.attempt >= ATTEMPTS:
                self._fail(run, "claim", f"{run.attempt} attempts ended without a result", final=True)
            else:
                self._claim(run_id, run.attempt + 1)

    def close(self) -> None:
        """No-op: finished stages of an open run are in its folder."""

    def _read(self, wait: float) -> int:
        entries = self._bus.read(self._after, limit=BATCH, wait=wait)
        batch = decoded(entries, "trainer")
        for _, event in batch.events:
            self._runs = runs.step(self._runs, event)
        self._after.update(batch.upto)
        if batch.too_new:
            raise batch.too_new
        return len(entries)

    def _remove_folders_of_ended_runs(self) -> None:
        """A folder holds replies, datasets and training states, and only an open run resumes from it."""
        for folder in (self._home / "runs").glob("*"):
            if any(str(run_id) == folder.name and run.ended for run_id, run in self._runs.items()):
                shutil.rmtree(
                    folder, ignore_errors=True
                )  # a trainer that has been overtaken may still write there: the next step tries again

    def _backing_off(self, run: Run) -> bool:
        """Whether the last attempt failed so recently that a retry is likely to fail too."""
        return run.failed is not None and (now() - run.failed.occurred_at).total_seconds() < RETRY_BACKOFF * run.attempt

    def _claim(self, run_id: UUID, attempt: int) -> None:
        """Publish a claim; the next step reads whose claim came first, and works on the run if it is ours."""
        claim = RunClaimed(source="product", run_id=run_id, attempt=attempt, trainer=self._name)
        self._bus.publish(records_of([claim]), timeout=TIMEOUT)

    def _work(self, run: Run) -> None:
        assert run.frozen is not None
        assert run.request is not None
        run_id = run.frozen.run_id
        folder = self._home / "runs" / str(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        self.busy = str(run_id)
        log.info("run %s, attempt %d", run_id, run.attempt)
        heartbeat = Heartbeat(self._bus, run_id, run.attempt, run.request.source, self._interrupted(run))
        try:
            with heartbeat:
                outcome = self._train(Work(run, folder), heartbeat.progress)
        except Interrupted as interrupted:
            log.info("run %s: %s", run_id, interrupted)
            self._read(0)
            return
        except Exception as error:
            if (reason := temporary_reason(error)) is not None:  # not a failed attempt: it resumes after the last finished stage
                self._stop.wait(RETRY_BACKOFF)
                raise Overloaded(f"run {run_id}: {reason}") from error
            if not isinstance(error, FeedbackLoopError):
                log.error("run %s crashed in %s", run_id, heartbeat.stage, exc_info=error)
                self._fail(run, heartbeat.stage, f"{type(error).__name__}: {_words(error)}", final=run.attempt >= ATTEMPTS)
                return
            # a TrainingError is permanent; other errors, such as a missing artifact, may be gone at the next attempt
            log.error("run %s failed in %s: %s", run_id, heartbeat.stage, error)
            self._fail(run, heartbeat.stage, _words(error), final=isinstance(error, TrainingError) or run.attempt >= ATTEMPTS)
            return
        finally:
            self.busy = None
        self._publish_outcome(run, outcome)

    def _publish_outcome(self, run: Run, outcome: Outcome) -> None:
        assert run.frozen is not None
        assert run.request is not None
        if reason := self._overtaken(run):
            log.info("run %s: %s; discarding this result", run.frozen.run_id, reason)
            return
        evaluated = ModelEvaluated(
            event_id=derived_id("ModelEvaluated", run.frozen.run_id, outcome.version),
            source=run.request.source,
            version=outcome.version,
            run_id=run.frozen.run_id,
            policy=outcome.policy,
            report=outcome.report,
            champion=run.frozen.champion,
            gates=outcome.gates,
            verdict=outcome.verdict,
        )
        self._bus.publish(records_of([evaluated]), timeout=TIMEOUT)
        self._runs = runs.step(self._runs, evaluated)
        log.info("run %s: %s %s", run.frozen.run_id, outcome.version, outcome.verdict)

    def _fail(self, run: Run, stage: str, reason: str, *, final: bool) -> None:
        assert run.frozen is not None
        failed = TrainingFailed(
            source=run.request.source if run.request else "product",
            run_id=run.frozen.run_id,
            attempt=max(run.attempt, 1),
            stage=stage,
            reason=reason[:2000],
            final=final,
        )
        self._bus.publish(records_of([failed]), timeout=TIMEOUT)
        self._runs = runs.step(self._runs, failed)

    def _interrupted(self, run: Run) -> Callable[[], str | None]:
        """A function that returns why the work must stop (the process ends, or another trainer has taken over), or None."""
        polled_at = time.monotonic()

        def why() -> str | None:
            nonlocal polled_at
            if self._stop.is_set():
                return "stopped; it resumes after the last finished stage"
            if time.monotonic() - polled_at < POLL_INTERVAL:
                return None
            polled_at = time.monotonic()
            return self._overtaken(run)

        return why

    def _overtaken(self, run: Run) -> str | None:
        """Why this attempt is superseded, or None. If its lease expired (a suspended machine) another trainer may have claimed the next."""
        assert run.frozen is not None
        while self._read(0):
            pass
        now_claimed = self._runs[run.frozen.run_id]
        return None if now_claimed.attempt == run.attempt else f"trainer {now_claimed.trainer} has taken over"


def _words(error: Exception) -> str:
    """The error's message with its notes of one line, such as the audit in which it was raised; a traceback has more lines."""
    return " ".join([str(error), *(f"({note})" for note in getattr(error, "__notes__", ()) if "\n" not in note)])
