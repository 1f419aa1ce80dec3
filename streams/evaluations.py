"""Validates evaluation events against their run and their report, and decisions of duels against their evidence.

An event on ``models.versions`` is only a claim. An evaluation counts if its run was requested, frozen and claimed on the log, if it has
every gate that the run's settings require exactly once, if it was judged against the champion of the run's data, and if the report in the
artifact store agrees with it. A duel's decision counts if its evidence, assessed again by the run's rule, decides the same. The hub, its
pages and serving all fold versions through this module, so they agree on the champion.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from storage.events import (
    CanaryStarted,
    DatasetFrozen,
    DuelDecided,
    Event,
    GateResult,
    ModelEvaluated,
    RunClaimed,
    TrainingRequested,
    Verdict,
)
from streams import runs, versions
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, VERSIONS
from streams.runs import Run
from trainers.audits.duel import DuelEvidence, assess, assess_canary
from trainers.runs.frozen import FIRST_REQUIRED, FrozenSettings, read_frozen
from trainers.runs.terms import Terms, terms_of

KINDS: tuple[type[Event], ...] = (*VERSIONS.kinds, TrainingRequested, DatasetFrozen, RunClaimed)  # the input of lives_of
TOPICS: Final = (VERSIONS, REQUESTED, FROZEN, PROGRESS)  # the topics of KINDS


class Claims(BaseModel):
    """The fields of a report that the event has to repeat."""

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
    """Reads settings and reports of runs from the artifact store; cached for ever, because artifacts are immutable."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._reports: dict[str, Claims] = {}
        self._settings: dict[str, FrozenSettings] = {}
        self._evidence: dict[str, DuelEvidence] = {}

    def report(self, sha: str) -> Claims | str:
        """The report's claims, or the reason why it cannot be read."""
        if sha not in self._reports:
            try:
                self._reports[sha] = Claims.model_validate_json(self._artifacts.read(sha))
            except ArtifactError as error:
                return f"its report {sha[:12]}… cannot be read: {error}"
            except ValidationError as error:
                return f"its report {sha[:12]}… is not an evaluation report: {error.errors()[0]['msg']}"
        return self._reports[sha]

    def settings(self, sha: str) -> FrozenSettings | str:
        """The run's settings, or the reason why they cannot be read."""
        if sha not in self._settings:
            try:
                self._settings[sha] = read_frozen(self._artifacts, sha)
            except ArtifactError as error:
                return f"the settings of its run cannot be read: {error}"
        return self._settings[sha]

    def evidence(self, sha: str) -> DuelEvidence | str:
        """The judgments of a duel, or the reason why they cannot be read."""
        if sha not in self._evidence:
            try:
                self._evidence[sha] = DuelEvidence.model_validate_json(self._artifacts.read(sha))
            except ArtifactError as error:
                return f"its evidence {sha[:12]}… cannot be read: {error}"
            except ValidationError as error:
                return f"its evidence {sha[:12]}… is not a duel's: {error.errors()[0]['msg']}"
        return self._evidence[sha]


def lives_of(events: Iterable[Event], run_artifacts: RunArtifacts) -> versions.Versions:
    """Fold events of ``KINDS`` into the life of the versions; each topic must be in order, the topics may be interleaved."""
    known = list(events)
    of_run = runs.fold(known)

    def terms(event: ModelEvaluated) -> Terms:
        request = of_run[event.run_id].request
        assert request is not None  # objection() has seen it, and the settings
        frozen = None if request.settings is None else run_artifacts.settings(request.settings)
        return terms_of(request, None if isinstance(frozen, str) else frozen)

    return versions.fold(
        known,
        versions.Checks(
            evaluation=lambda event: objection(event, of_run.get(event.run_id), run_artifacts),
            terms=terms,
            evidence=lambda event, version: evidence_objection(event, version, run_artifacts),
        ),
    )


def evidence_objection(event: DuelDecided | CanaryStarted, version: versions.Version, run_artifacts: RunArtifacts) -> str | None:
    """The reason why the evidence does not show what the event says; None if it does. Time needs no evidence to retire a version."""
    if isinstance(event, DuelDecided) and event.outcome == "expired":
        return None
    if event.evidence is None:
        return "it names no evidence"
    evidence, rule = run_artifacts.evidence(event.evidence), version.terms.duel
    if isinstance(evidence, str):
        return evidence
    if rule is None:
        return f"the run of {version.name} asked for no duel"
    named = (evidence.version, evidence.champion, evidence.settings)
    if named != (version.name, version.evaluated.champion, version.terms.settings):
        return f"its evidence is about {evidence.version} and {evidence.champion}, under other settings or between other versions"
    said: str | None = event.outcome if isinstance(event, DuelDecided) else "better"
    if isinstance(event, CanaryStarted) and event.step:
        found, through, _ = assess_canary(evidence.judgments, rule, event.step - 1)
    elif isinstance(event, DuelDecided) and event.stage == "canary":
        found, through, _ = assess_canary(evidence.judgments, rule, len(version.canary) - 1)
        if found == "better" and len(version.canary) < len(rule.canary):
            return f"step {len(version.canary)} of {len(rule.canary)} of the canary is not its last"
    else:
        state = assess(evidence.judgments, rule)
        found, through = state.outcome, state.through_sequence
    if (found, through) != (said, event.through_sequence):
        return f"its evidence decides {found} at {through}, it says {said} at {event.through_sequence}"
    return None


def objection(event: ModelEvaluated, run: Run | None, run_artifacts: RunArtifacts) -> str | None:
    """The reason why the evaluation does not count; None if it does."""
    if run is None or run.request is None:
        return f"run {event.run_id} was never asked for"
    if run.frozen is None or not run.attempt:
        return f"run {event.run_id} was never {'claimed by a trainer' if run.frozen else 'given any data'}"
    if event.champion != run.frozen.champion:
        return f"it was judged against {event.champion}, but the champion of run {event.run_id} is {run.frozen.champion}"
    asked = None if run.request.settings is None else run_artifacts.settings(run.request.settings)
    if isinstance(asked, str):
        return asked
    if complaint := _gates_objection(event, FIRST_REQUIRED if asked is None else asked.required):
        return complaint
    try:
        terms_of(run.request, asked)
    except ArtifactError as error:
        return str(error)
    claims = run_artifacts.report(event.report)
    return claims if isinstance(claims, str) else _disagreement(event, run.frozen, claims, asked)


def _gates_objection(event: ModelEvaluated, required: Sequence[str]) -> str | None:
    count = Counter(gate.name for gate in event.gates)
    if missing := [name for name in required if not count[name]]:
        return f"required gates are missing: {', '.join(missing)}"
    if repeated := [name for name, n in count.items() if n > 1]:
        return f"gates are listed more than once: {', '.join(repeated)}"
    return None


def _disagreement(event: ModelEvaluated, frozen: DatasetFrozen, claims: Claims, asked: FrozenSettings | None) -> str | None:
    compared: dict[str, tuple[Any, Any]] = {
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
        compared["settings"] = (claims.settings, asked.sections)
    differing = [name for name, (in_report, in_event) in compared.items() if in_report != in_event]
    return f"its report disagrees on the {', the '.join(differing)}" if differing else None
