"""A small loop in which two versions were promoted, one after the other, by the real fold and the real attestor; nothing is trained.

For the benchmark of the proof and for tests. Every artifact is there: adapters, settings, snapshots, and reports with a finding that the
real gate passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from storage.artifacts import Artifacts
from storage.attestation.envelope import stored_record
from storage.attestation.keys import private_pem
from storage.attestation.settings import AttestationSettings
from storage.attestation.statement import Statement
from storage.events import DatasetFrozen, Event, ModelEvaluated, ModelPromoted, ReviewDecided, RunClaimed, TrainingRequested, derived_id
from streams import runs
from streams.attestation.attestor import Attestor
from streams.evaluations import RunArtifacts, lives_of
from streams.versions import Versions, promotions, version_name
from trainers.audits.audit import Audit
from trainers.audits.policy import kl_budget
from trainers.audits.policy.kl_budget import Divergence, Divergences, KLLimits
from trainers.audits.statistics.intervals import Interval
from trainers.runs.frozen import FrozenSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
AUDIT: Audit = kl_budget.AUDIT  # the one gate that the run requires
LIMITS = KLLimits()
BASE_HASH = "b" * 64


def reviewer_key(path: Path) -> Path:
    """Write a new Ed25519 key to ``path``, readable by its owner only."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path.touch(0o600)
    path.write_bytes(private_pem(Ed25519PrivateKey.generate()))
    return path


@dataclass
class PromotedWorld:
    """The loop's home, its log so far and the attestor; :meth:`grow` promotes another version.

    Attributes
    ----------
    base_hash : what the reports say about the base model; None as for a Hugging Face id
    adapters : folders of real adapters by the names given to :meth:`grow`; the others are invented bytes
    """

    home: Path
    settings: AttestationSettings = field(default_factory=AttestationSettings)
    base_hash: str | None = BASE_HASH
    events: list[Event] = field(default_factory=list)
    adapters: Mapping[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.artifacts = Artifacts(str(self.home / "artifacts"))
        self.attestor = Attestor(self.artifacts, self.home, self.settings)
        self.attestor.prepare()

    @property
    def versions(self) -> Versions:
        return lives_of(self.events, RunArtifacts(self.artifacts))

    def grow(self, name: str) -> ModelPromoted:
        """Evaluate, approve and promote a version; its adapter's content depends on ``name``."""
        self.approve(name)
        promoted = self.promote()
        assert promoted is not None, self.attestor.problem
        return promoted

    def approve(self, name: str, finding: Divergences | None = None) -> ReviewDecided:
        """Put a run, its evaluation against the current champion and a reviewer's approval on the log.

        ``finding`` replaces what the report says was measured, but not the gate's result.
        """
        evaluated = self.evaluate(name, finding)
        review = ReviewDecided(
            event_id=derived_id("review", name),
            occurred_at=START + timedelta(hours=len(self.events)),
            source="product",
            version=evaluated.version,
            decision="approve",
            reviewer="Rosa",
            reason="better",
        )
        self.events.append(review)
        return review

    def promote(self) -> ModelPromoted | None:
        """The next promotion that is due, as the hub publishes it; None if it cannot be attested."""
        versions = self.versions
        promoted = self.attestor.next_promotion(promotions(versions), versions, runs.fold(self.events))
        if promoted is not None:
            self.events.append(promoted)
        return promoted

    def evaluate(self, name: str, finding: Divergences | None = None) -> ModelEvaluated:
        """Put a run and its evaluation on the log."""
        versions, run_id = self.versions, derived_id("run", name)
        invented = {"adapter_model.safetensors": f"weights of {name} ".encode() * 40, "adapter_config.json": b"{}"}
        adapter = self.artifacts.put(self.adapters[name]) if name in self.adapters else self._folder(f"adapter-{name}", invented)
        snapshot = self._folder(f"snapshot-{name}", {"manifest.json": b"{}", "preferences.parquet": f"rows of {name} ".encode() * 20})
        settings = FrozenSettings(method="dpo", sections={"gates": {AUDIT.name: LIMITS.model_dump(mode="json")}}, required=(AUDIT.name,))
        gate = AUDIT.gate(kl_of(1.5), LIMITS)
        version = version_name(adapter)
        report: dict[str, Any] = {
            "run_id": str(run_id),
            "version": version,
            "policy": adapter,
            "base": "shipped",
            "champion": versions.champion,
            "champion_policy": versions.champion_policy,
            "challengers_before": versions.verdicts_against(versions.champion),
            "lineage": {"base_hash": self.base_hash},
            "settings": settings.sections,
            "findings": {AUDIT.name: (finding or kl_of(1.5)).model_dump(mode="json")},
            "gates": [gate.model_dump(mode="json")],
            "verdict": gate.verdict,
        }
        common: dict[str, Any] = {"source": "product", "run_id": run_id}
        evaluated = ModelEvaluated(
            **common,
            event_id=derived_id("evaluated", name),
            occurred_at=START,
            version=version,
            policy=adapter,
            report=self.artifacts.put_bytes(orjson.dumps(report)),
            champion=versions.champion,
            gates=(gate,),
            verdict=gate.verdict,
        )
        self.events += [
            TrainingRequested(
                **common,
                method="dpo",
                threshold="manual",
                k=1,
                through_sequence=7,
                sources=("product",),
                settings=self.artifacts.put_bytes(settings.as_bytes()),
            ),
            DatasetFrozen(
                **common,
                snapshot=snapshot,
                champion=versions.champion,
                champion_policy=versions.champion_policy,
                challengers_before=versions.verdicts_against(versions.champion),
            ),
            RunClaimed(**common, attempt=1, trainer="trainer-1"),
            evaluated,
        ]
        return evaluated

    def record(self, promoted: ModelPromoted) -> bytes:
        assert promoted.record is not None
        return stored_record(self.artifacts, promoted.record).raw

    def statement(self, promoted: ModelPromoted) -> Statement:
        assert promoted.record is not None
        return stored_record(self.artifacts, promoted.record).statement()

    def run_of(self, version: str) -> UUID:
        return self.versions.versions[version].evaluated.run_id

    def _folder(self, name: str, files: dict[str, bytes]) -> str:
        folder = self.home / "made" / name
        folder.mkdir(parents=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        return self.artifacts.put(folder)


def kl_of(nats: float) -> Divergences:
    """A KL of so many nats a reply, measured on 224 replies; the default budget is 5."""
    moved = Divergence(per_reply=Interval(figure=nats, low=nats - 0.1, high=nats + 0.1, n=224), per_token=0.05)
    return Divergences(base=moved, champion=moved)
