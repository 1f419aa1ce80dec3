"""Is what was derived what its sources make of it, and is what events name there? What ``verify`` asks beyond comparing log and warehouse.

Derived events are computed again from the rows, which have been compared with the log; artifacts that events name are hashed; files that a
process keeps beside the log are held against it. What nothing here can check is said, so that nobody takes silence for agreement.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, EventError, WarehouseError
from storage.events import DatasetFrozen, ModelEvaluated, ModelPromoted, RewardUpdated, Source, derived_id, unpack
from storage.settings import Settings
from storage.snapshots.snapshot import RECIPE, freeze, open_snapshot
from storage.warehouse.verify import Finding, What
from storage.warehouse.warehouse import Warehouse
from streams import runs
from streams.evaluations import KINDS, RunArtifacts, lives_of
from streams.versions import BASE
from trainers.data.preference import Entry
from trainers.reward.online.learn import Head, head_id, learn, learn_all, load, new_head
from trainers.reward.online.settings import HeadSettings

AT_ONCE = 5_000  # numbers that are folded together
UNCHECKED = (
    "what people sent: replies, pairs, judgments and reviews stand on the log as they were accepted, and nobody has signed them",
    "feature vectors: they were not computed again from the texts",
    "model weights and reports: they are what their hashes name, and training and evaluation were not repeated",
)


class Verification:
    """Findings, and what could not be covered."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.not_covered: list[str] = list(UNCHECKED)

    def found(self, what: What, where: str, event_id: UUID | str | None, words: str) -> None:
        self.findings.append(Finding(what=what, where=where, event_id=UUID(str(event_id)) if event_id else None, words=words))


def check_derived(warehouse: Warehouse, artifacts: Artifacts, settings: Settings) -> Verification:
    """Everything that this module can say of one home."""
    done = Verification()
    _check_preferences(warehouse, done)
    _check_reward(warehouse, settings, done)
    _check_versions(warehouse, artifacts, settings.common.home, done)
    return done


def _check_preferences(warehouse: Warehouse, done: Verification) -> None:
    for row in _rows(warehouse, "joined_wrongly"):
        words = f"it is not what it is derived from: {', '.join(row['differing'])}"
        done.found("derived", f"preference {row['sequence']}", row["event_id"], words)
    for row in _rows(warehouse, "removed_wrongly"):
        done.found("derived", f"preference {row['sequence']}", row["event_id"], f"nothing calls for taking back number {row['removes']}")
    with warehouse.stream("numbered_ids", {}, AT_ONCE) as reader:
        for batch in reader:
            for row in batch.to_pylist():
                if str(derived_id(row["kind"], UUID(row["judgment_event_id"]))) != row["event_id"]:
                    done.found("derived", f"preference {row['sequence']}", row["event_id"], "its id is not that of its judgment")


def _check_reward(warehouse: Warehouse, settings: Settings, done: Verification) -> None:
    """Fold the head again over all preferences, and hold every update and the learner's checkpoint against it on the way."""
    own, sources = settings.section("learning", HeadSettings), settings.common.sources
    updates: dict[str, dict[int, RewardUpdated]] = {}
    for event in warehouse.events(RewardUpdated):
        assert isinstance(event, RewardUpdated)
        updates.setdefault(event.head_id, {})[event.sequence] = event
    for embedding_hash, dimension in _embeddings(warehouse):
        name = head_id(own, embedding_hash, sources)
        said = updates.pop(name, {})
        path = settings.common.home / "learner" / name / "head.safetensors"
        kept = _checkpoint(path, done)
        if said or kept is not None:
            _fold(warehouse, own, embedding_hash, dimension, sources, said, kept, done)
    if updates:
        n = sum(map(len, updates.values()))
        done.not_covered.append(
            f"{n} reward updates of heads with other settings, sources or formulation than these have: not computed again"
        )


def _fold(
    warehouse: Warehouse,
    own: HeadSettings,
    embedding_hash: str,
    dimension: int,
    sources: tuple[Source, ...],
    said: Mapping[int, RewardUpdated],
    kept: tuple[Path, int, np.ndarray] | None,
    done: Verification,
) -> None:
    head = new_head(own, embedding_hash, dimension, sources)
    stops = sorted({*said, *((kept[1],) if kept else ())})
    pending: list[Any] = []
    for entry in _numbered(warehouse):
        pending.append(entry)
        if entry.sequence in stops or len(pending) >= AT_ONCE:
            head, pending = _learnt(head, pending), []
        if (update := said.get(entry.sequence)) is not None:
            _compare_update(update, head.mean, head.judgments_seen, done)
        if kept is not None and entry.sequence == kept[1] and not _close(kept[2], head.mean):
            done.found("state", f"learner/{kept[0].parent.name[:16]}/{kept[0].name}", None, "its weights are not those of the preferences")


def _learnt(head: Head, entries: list[Any]) -> Head:
    """As the learner does it: what cannot be learnt is passed over."""
    try:
        return learn_all(head, map(Entry.of, entries))
    except EventError:
        for entry in entries:
            try:
                head = learn(head, Entry.of(entry))
            except EventError:
                head = replace(head, sequence=entry.sequence)
        return head


def _compare_update(update: RewardUpdated, mean: np.ndarray, seen: int, done: Verification) -> None:
    where, words = f"reward update {update.sequence}", []
    if update.event_id != derived_id("RewardUpdated", update.head_id, update.sequence):
        words.append("its id is not that of its head and number")
    if not _close(unpack(update.mean), mean):
        words.append("its weights are not those of the preferences")
    if update.judgments_seen != seen:
        words.append(f"it counts {update.judgments_seen} judged pairs where the preferences have {seen}")
    if words:
        done.found("derived", where, update.event_id, "; ".join(words))


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal but for rounding: another processor computes the last digits otherwise."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-6)


def _checkpoint(path: Path, done: Verification) -> tuple[Path, int, np.ndarray] | None:
    if not path.exists():
        done.not_covered.append("the learner's checkpoint: there is none in this home")
        return None
    try:
        head = load(path)
    except ArtifactError as error:
        done.found("state", f"learner/{path.parent.name[:16]}/{path.name}", None, str(error))
        return None
    return path, head.sequence, head.mean


def _check_versions(warehouse: Warehouse, artifacts: Artifacts, home: Path, done: Verification) -> None:
    events = warehouse.events(*KINDS)
    life, of_run = lives_of(events, RunArtifacts(artifacts)), runs.fold(events)
    illegal = {each.event.event_id: each for each in life.illegal}
    for each in illegal.values():
        if isinstance(each.event, ModelEvaluated | ModelPromoted):
            done.not_covered.append(f"{each.event.kind} {each.event.event_id}, which changed nothing: {each.reason}")
    legal = {version.evaluated.event_id for version in life.versions.values()}
    for event in events:
        match event:
            case DatasetFrozen() if of_run[event.run_id].frozen == event and of_run[event.run_id].request is not None:
                _check_artifact(artifacts, event.snapshot, f"snapshot of run {event.run_id}", event.event_id, done)
                _check_snapshot(warehouse, artifacts, event, done)
            case ModelEvaluated() if event.event_id in legal:
                for kind, sha in (("policy", event.policy), ("report", event.report)):
                    _check_artifact(artifacts, sha, f"{kind} of {event.version}", event.event_id, done)
            case ModelEvaluated() if (run := of_run[event.run_id]).request and run.frozen and run.attempt:
                _check_artifact(artifacts, event.report, f"report of {event.version}", event.event_id, done)
            case ModelPromoted() if event.event_id not in illegal and event.event_id != derived_id("ModelPromoted", event.review):
                done.found("derived", f"promotion of {event.version}", event.event_id, "its id is not that of its review")
    memory = home / "serving" / "champion.json"
    if memory.exists():
        possible = {(BASE, None), *((version.name, version.evaluated.policy) for version in life.versions.values())}
        try:
            name, policy = orjson.loads(memory.read_bytes())
            known = (name, policy) in possible and name in life.champions
        except (orjson.JSONDecodeError, ValueError, TypeError):
            known = False
        if not known:
            done.found("state", "serving/champion.json", None, "it names what is neither the champion nor one before it")


def _check_artifact(artifacts: Artifacts, sha: str, name: str, event_id: UUID, done: Verification) -> None:
    try:
        artifacts.get(sha)
    except ArtifactError as error:
        done.found("artifact", name, event_id, str(error))


def _check_snapshot(warehouse: Warehouse, artifacts: Artifacts, event: DatasetFrozen, done: Verification) -> None:
    """Freeze it again: the same cut has the same rows."""
    try:
        snapshot = open_snapshot(artifacts.get(event.snapshot))
    except ArtifactError:
        return  # said already
    manifest = snapshot.manifest
    if manifest.recipe != RECIPE:
        done.not_covered.append(f"snapshot of run {event.run_id}: made by recipe {manifest.recipe}, which this program does not have")
        return
    with tempfile.TemporaryDirectory() as scratch:
        try:
            freeze(
                warehouse,
                Path(scratch) / "again",
                run_id=manifest.run_id,
                through_sequence=manifest.through_sequence,
                sources=manifest.sources,
                since=manifest.replies_since,
                cut=manifest.replies_cut,
            )
        except WarehouseError as error:
            done.not_covered.append(f"snapshot of run {event.run_id}: {error}")
            return
        again = open_snapshot(Path(scratch) / "again")
        differing = [name for name in ("preferences", "prompts") if not _same(getattr(snapshot, name), getattr(again, name))]
    if differing or manifest.run_id != event.run_id:
        what = " and ".join(differing) or "run"
        done.found("derived", f"snapshot of run {event.run_id}", event.event_id, f"frozen again it has other {what}")


def _same(one: pa.Table, other: pa.Table) -> bool:
    return bool(one.equals(other.cast(one.schema))) if one.schema.names == other.schema.names else False


def _embeddings(warehouse: Warehouse) -> list[tuple[str, int]]:
    """The embeddings that preferences have, with how many components most of their vectors have."""
    rows = warehouse.cursor().execute("SELECT embedding_hash, mode(length(a)) FROM preference_joined GROUP BY ALL ORDER BY ALL").fetchall()
    return [(name, length // 4 * 3 // 4) for name, length in rows]


def _numbered(warehouse: Warehouse) -> Iterator[Any]:
    after = 0
    while some := warehouse.preferences_after(after, AT_ONCE):
        yield from some
        after = some[-1].sequence


def _rows(warehouse: Warehouse, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(query).to_pylist()
    return rows
