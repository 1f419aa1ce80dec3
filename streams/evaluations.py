"""Is an evaluation what it says? Held against the run that it is of and against the report that it names, by every reader alike.

An event on ``models.versions`` is a claim. It counts for a run that was requested, frozen and claimed on the log, with each gate once that
the run's settings require, against the champion of that run's data, and with a report in the artifact store that says the same. The hub,
its pages and serving fold the life of versions through here, so they agree about who is champion.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import DatasetFrozen, Event, GateResult, ModelEvaluated, RunClaimed, TrainingRequested, Verdict
from streams import runs, versions
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, VERSIONS
from streams.runs import Run
from trainers.runs.frozen import FIRST_REQUIRED, FrozenSettings, read_frozen

KINDS: tuple[type[Event], ...] = (*VERSIONS.kinds, TrainingRequested, DatasetFrozen, RunClaimed)  # what the lives are folded from
TOPICS: Final = (VERSIONS, REQUESTED, FROZEN, PROGRESS)  # and where that stands


class Claims(BaseModel):
    """What a report says about itself, as far as the event has to say the same."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_id: str
    version: str
    policy: str | None
    champion: str
    champion_policy: str | None
    challengers_before: int
    gates: tuple[GateResult, ...]
    verdict: Verdict
    settings: dict[str, Any] = Field(default_factory=dict)


class RunArtifacts:
    """Reads the settings and reports of runs; what was read once is remembered, for a hash has one content."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._reports: dict[str, Claims] = {}
        self._settings: dict[str, FrozenSettings] = {}

    def report(self, sha: str) -> Claims | str:
        """The report's claims, or why there are none."""
        if sha not in self._reports:
            try:
                self._reports[sha] = Claims.model_validate_json(self._artifacts.read(sha))
            except ArtifactError as error:
                return f"its report {sha[:12]}… cannot be read: {error}"
            except ValidationError as error:
                return f"its report {sha[:12]}… is no evaluation's report: {error.errors()[0]['msg']}"
        return self._reports[sha]

    def settings(self, sha: str) -> FrozenSettings | str:
        """The run's settings, or why there are none."""
        if sha not in self._settings:
            try:
                self._settings[sha] = read_frozen(self._artifacts, sha)
            except ArtifactError as error:
                return f"the settings of its run cannot be read: {error}"
        return self._settings[sha]


def lives_of(events: Iterable[Event], kept: RunArtifacts) -> versions.Versions:
    """The life of the versions: events of ``KINDS``, each topic in its order, whatever lies between."""
    known = list(events)
    of_run = runs.fold(known)
    return versions.fold(known, lambda event: objection(event, of_run.get(event.run_id), kept))


def objection(event: ModelEvaluated, run: Run | None, kept: RunArtifacts) -> str | None:
    """Why the evaluation does not count; None where it does."""
    if run is None or run.request is None:
        return f"run {event.run_id} was never asked for"
    if run.frozen is None or not run.attempt:
        return f"run {event.run_id} was never {'claimed by a trainer' if run.frozen else 'given any data'}"
    if event.champion != run.frozen.champion:
        return f"it was judged against {event.champion}, and run {event.run_id} is one against {run.frozen.champion}"
    asked = None if run.request.settings is None else kept.settings(run.request.settings)
    if isinstance(asked, str):
        return asked
    if complaint := _gates_objection(event, FIRST_REQUIRED if asked is None else asked.required):
        return complaint
    claims = kept.report(event.report)
    return claims if isinstance(claims, str) else _disagreement(event, run.frozen, claims, asked)


def _gates_objection(event: ModelEvaluated, required: Sequence[str]) -> str | None:
    count = Counter(gate.name for gate in event.gates)
    if missing := [name for name in required if not count[name]]:
        return f"required gates are missing: {', '.join(missing)}"
    if twice := [name for name, n in count.items() if n > 1]:
        return f"gates stand there more than once: {', '.join(twice)}"
    return None


def _disagreement(event: ModelEvaluated, frozen: DatasetFrozen, claims: Claims, asked: FrozenSettings | None) -> str | None:
    said: dict[str, tuple[Any, Any]] = {
        "run": (claims.run_id, str(event.run_id)),
        "version": (claims.version, event.version),
        "policy": (claims.policy, event.policy),
        "champion": (claims.champion, event.champion),
        "champion's policy": (claims.champion_policy, frozen.champion_policy),
        "number of challengers before": (claims.challengers_before, frozen.challengers_before),
        "gates": (claims.gates, event.gates),
        "verdict": (claims.verdict, event.verdict),
    }
    if asked is not None:
        said["settings"] = (claims.settings, asked.sections)
    differing = [name for name, (in_report, in_event) in said.items() if in_report != in_event]
    return f"its report says otherwise about the {', the '.join(differing)}" if differing else None
