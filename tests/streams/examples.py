"""Short constructors of example events, and a small deterministic embedding."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import orjson

from storage.artifacts import Artifacts
from storage.events import (
    DatasetFrozen,
    GateResult,
    HubClaimed,
    JudgmentGiven,
    Message,
    ModelEvaluated,
    PreferenceJoined,
    RewardUpdated,
    RunClaimed,
    TrainingRequested,
    Verdict,
    derived_id,
    pack,
)
from streams.stations.trigger import RunPlan
from streams.versions import NO_TERMS, Checks, version_name
from trainers.runs.frozen import FIRST_REQUIRED as REQUIRED
from trainers.runs.frozen import FrozenSettings
from trainers.runs.terms import Terms

START = datetime(2026, 1, 1, tzinfo=UTC)
DIMENSION = 6

PLAN = RunPlan("dpo", ("product",), None)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class SmallEmbedder:
    """Six features of a text, one from its length and five from its hash: enough to learn a preference for longer texts."""

    name, hash, dimension = "small", sha("small"), DIMENSION

    def __init__(self) -> None:
        self.texts: list[str] = []

    def features(self, items: Sequence[tuple[Sequence[Message], str]]) -> np.ndarray:
        self.texts += [text for _, text in items]
        return np.stack([self._features(text) for _, text in items])

    def _features(self, text: str) -> np.ndarray:
        noise = np.frombuffer(hashlib.sha256(text.encode()).digest()[:DIMENSION], np.uint8) / 255 - 0.5
        return np.concatenate([[len(text) / 20], noise[1:]]).astype(np.float32)


def claimed(epoch: int) -> HubClaimed:
    return HubClaimed(source="product", epoch=epoch, hub=f"hub-{epoch}")


def joined(sequence: int, epoch: int = 1, **fields: Any) -> PreferenceJoined:
    """The preference with this sequence number; deterministic."""
    generator = np.random.default_rng(sequence)
    judgment = {
        "event_id": derived_id("judgment", sequence),
        "occurred_at": at(sequence),
        "source": fields.get("source", "product"),
        "pair_id": derived_id("pair", sequence),
        "recruiter": f"r-{sequence % 3}",
        "choice": "A",
        "shown_first": "B" if sequence % 2 else "A",
    }
    return PreferenceJoined(
        event_id=derived_id("joined", sequence),
        occurred_at=at(sequence),
        source=fields.pop("source", "product"),
        epoch=epoch,
        sequence=sequence,
        judgment=JudgmentGiven.model_validate(judgment | fields.pop("judgment", {})),
        stratum=fields.pop("stratum", "training"),
        embedding_hash=fields.pop("embedding_hash", SmallEmbedder.hash),
        a=pack(generator.normal(size=DIMENSION) + 0.5),
        b=pack(generator.normal(size=DIMENSION)),
    )


def updated(before: int, seen: int, sequence: int | None = None, seconds: float = 0) -> RewardUpdated:
    return RewardUpdated(
        occurred_at=at(seconds),
        source="product",
        head_id=sha("head"),
        sequence=sequence or max(seen, 1),
        judgments_before=before,
        judgments_seen=seen,
        mean=pack(np.zeros(3)),
        prequential_accuracy=None,
        prequential_log_loss=None,
        prequential_n=0,
        checkpoint=sha("checkpoint"),
    )


def gate(verdict: Verdict, name: str = "win_rate") -> GateResult:
    return GateResult(name=name, verdict=verdict, figure=0.6, low=0.55, high=0.65, n=900, limit="> 0.5", unit="share", words="words")


def evaluated(text: str, /, *verdicts: Verdict, champion: str = "base", run_id: UUID | None = None, **fields: Any) -> ModelEvaluated:
    """The evaluation of the policy with the hash of ``text``; ``verdicts`` are those of the first required gates, the others pass."""
    passed: Verdict = "passed"
    all_verdicts = (*verdicts, *(passed,) * (len(REQUIRED) - len(verdicts)))
    worst: Verdict = "failed" if "failed" in all_verdicts else "insufficient" if "insufficient" in all_verdicts else "passed"
    return ModelEvaluated.model_validate(
        {
            "source": "product",
            "version": version_name(sha(text)),
            "run_id": run_id or derived_id("run", text),
            "policy": sha(text),
            "report": sha(f"report of {text}"),
            "champion": champion,
            "gates": [gate(verdict, name) for verdict, name in zip(all_verdicts, REQUIRED, strict=True)],
            "verdict": worst,
        }
        | fields
    )


def accept_all(terms: Terms = NO_TERMS) -> Checks:
    """Checks for the fold of versions that accept every evaluation and all evidence, under these terms."""
    return Checks(evaluation=lambda event: None, terms=lambda event: terms, evidence=lambda event, version: None)


def of_its_run(
    event: ModelEvaluated,
    artifacts: Artifacts,
    judged_against: str | None = None,
    settings: FrozenSettings | None = None,
    otherwise: Mapping[str, Any] | None = None,
) -> tuple[TrainingRequested, DatasetFrozen, RunClaimed, ModelEvaluated]:
    """The evaluation with the events of its run; its report is put into the store.

    ``judged_against`` is the champion's policy, ``settings`` are the run's frozen settings, ``otherwise`` overrides fields of the report.
    """
    common: dict[str, Any] = {"source": event.source, "run_id": event.run_id}
    claims = {
        "run_id": str(event.run_id),
        "version": event.version,
        "policy": event.policy,
        "champion": event.champion,
        "champion_policy": judged_against,
        "challengers_before": 0,
        "gates": [gate.model_dump(mode="json") for gate in event.gates],
        "verdict": event.verdict,
        "settings": settings.sections if settings is not None else {},
    }
    report = artifacts.put_bytes(orjson.dumps(claims | dict(otherwise or {})))
    return (
        TrainingRequested(
            **common,
            method="dpo",
            threshold="manual",
            k=1,
            through_sequence=1,
            sources=("product",),
            settings=artifacts.put_bytes(settings.as_bytes()) if settings is not None else None,
        ),
        DatasetFrozen(
            **common,
            snapshot=artifacts.put_bytes(b"snapshot"),
            champion=event.champion,
            champion_policy=judged_against,
            challengers_before=0,
        ),
        RunClaimed(**common, attempt=1, trainer="trainer-1"),
        event.model_copy(update={"report": report}),
    )
