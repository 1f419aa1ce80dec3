"""Checks of derived data for ``verify``, beyond the comparison of log and warehouse.

Derived events are recomputed from the rows, which ``verify`` has compared with the log; artifacts named in events are hashed; files that a
process keeps beside the log are compared with it. Whatever cannot be checked is listed explicitly as not covered.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, EventError, TextLost, WarehouseError
from storage.events import (
    CanaryStarted,
    DatasetFrozen,
    DuelDecided,
    ModelEvaluated,
    ModelPromoted,
    RewardUpdated,
    Source,
    TrainingRequested,
    derived_id,
    unpack,
)
from storage.events.tokens import is_sealed
from storage.settings import Settings
from storage.snapshots.snapshot import RECIPE, freeze, open_snapshot
from storage.texts.sealed import bytes_of
from storage.texts.texts import Texts
from storage.warehouse.verify import Finding, What
from storage.warehouse.warehouse import Warehouse
from streams import runs
from streams.erasure import SNAPSHOT_TABLES, erased_names, is_in, unrepeatable, without_erased
from streams.evaluations import KINDS, RunArtifacts, lives_of
from streams.stations.duel import duel_judgments
from streams.stations.erasure import lost_keys
from streams.versions import BASE, Version
from trainers.data.preference import Entry
from trainers.reward.online.learn import Head, head_id, learn, learn_all, load, new_head
from trainers.reward.online.settings import HeadSettings

BATCH = 5_000  # preferences folded at a time
UNCHECKED = (
    "input from people: replies, pairs, judgments and reviews are on the log as they were accepted, and nobody has signed them",
    "feature vectors: not recomputed from the texts",
    "model weights and reports: they match their hashes, but training and evaluation were not repeated",
)


class Verification:
    """Findings, and what the checks do not cover."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.not_covered: list[str] = list(UNCHECKED)

    def add(self, what: What, where: str, event_id: UUID | str | None, words: str) -> None:
        self.findings.append(Finding(what=what, where=where, event_id=UUID(str(event_id)) if event_id else None, words=words))


def check_derived(warehouse: Warehouse, artifacts: Artifacts, settings: Settings, texts: Texts) -> Verification:
    """Run all checks of this module on one home."""
    done = Verification()
    _check_preferences(warehouse, done)
    _check_rewrites(warehouse, done)
    _check_reward(warehouse, settings, texts, done)
    _check_versions(warehouse, artifacts, settings.common.home, texts, done)
    if lost := lost_keys(warehouse, texts):
        problem = f"{len(lost)} keys of sealed texts are lost, and nobody asked to erase these texts: restore them from a backup"
        done.add("state", texts.keys_place, None, problem)
    return done


def _check_preferences(warehouse: Warehouse, done: Verification) -> None:
    for row in _rows(warehouse, "joined_wrongly"):
        problem = f"it does not match what it is derived from: {', '.join(row['differing'])}"
        done.add("derived", f"preference {row['sequence']}", row["event_id"], problem)
    for row in _rows(warehouse, "removed_wrongly"):
        done.add("derived", f"preference {row['sequence']}", row["event_id"], f"nothing justifies removing number {row['removes']}")
    with warehouse.stream("numbered_ids", {}, BATCH) as reader:
        for batch in reader:
            for row in batch.to_pylist():
                if str(derived_id(row["kind"], UUID(row["judgment_event_id"]))) != row["event_id"]:
                    done.add("derived", f"preference {row['sequence']}", row["event_id"], "its id is not derived from its judgment")


def _check_rewrites(warehouse: Warehouse, done: Verification) -> None:
    for row in _rows(warehouse, "rewrites_drawn_wrongly"):
        done.add(
            "derived", f"pair {row['pair_id']}", row["event_id"], "it does not follow from its rewrite and the response that this names"
        )


def _check_reward(warehouse: Warehouse, settings: Settings, texts: Texts, done: Verification) -> None:
    """Fold the head again over all preferences and compare every update and the learner's checkpoint with it."""
    head_settings, sources = settings.section("learning", HeadSettings), settings.common.sources
    spans = unrepeatable(_rows(warehouse, "erased_preferences"), head_settings)
    updates: dict[str, dict[int, RewardUpdated]] = {}
    for event in warehouse.events(RewardUpdated):
        assert isinstance(event, RewardUpdated)
        updates.setdefault(event.head_id, {})[event.sequence] = event
    for embedding_hash, dimension in _embeddings(warehouse):
        name = head_id(head_settings, embedding_hash, sources)
        published = _repeatable(updates.pop(name, {}), spans, done)
        path = settings.common.home / "learner" / name / "head.safetensors"
        checkpoint = _checkpoint(path, done)
        if checkpoint is not None and is_in(checkpoint[1], spans):
            done.not_covered.append("the learner's checkpoint: it learnt from people who are erased since, until the next reconciliation")
            checkpoint = None
        if published or checkpoint is not None:
            head = new_head(head_settings, embedding_hash, dimension, sources)
            _compare_with_fold(warehouse, head, published, checkpoint, texts, done)
    if updates:
        n = sum(map(len, updates.values()))
        done.not_covered.append(f"{n} reward updates of heads with other settings, sources or formulation: not recomputed")


def _repeatable(updates: dict[int, RewardUpdated], spans: Sequence[range], done: Verification) -> dict[int, RewardUpdated]:
    """Those that can be computed again; the others are said to be not covered."""
    kept = {sequence: update for sequence, update in updates.items() if not is_in(sequence, spans)}
    if len(kept) < len(updates):
        done.not_covered.append(
            f"{len(updates) - len(kept)} reward updates between judgments of erased people and the reconciliation after their removal: "
            "their features are gone"
        )
    return kept


def _compare_with_fold(
    warehouse: Warehouse,
    head: Head,
    published: Mapping[int, RewardUpdated],
    checkpoint: tuple[Path, int, np.ndarray] | None,
    texts: Texts,
    done: Verification,
) -> None:
    stops = sorted({*published, *((checkpoint[1],) if checkpoint else ())})
    pending: list[Any] = []
    for entry in _numbered(warehouse):
        pending.append(entry)
        if entry.sequence in stops or len(pending) >= BATCH:
            head, pending = _learn(head, pending, texts), []
        if (update := published.get(entry.sequence)) is not None:
            _compare_update(update, head.overall.mean, head.judgments_seen, done)
        if checkpoint is not None and entry.sequence == checkpoint[1] and not _close(checkpoint[2], head.overall.mean):
            where = f"learner/{checkpoint[0].parent.name[:16]}/{checkpoint[0].name}"
            done.add("state", where, None, "its weights do not follow from the preferences")


def _learn(head: Head, entries: list[Any], texts: Texts) -> Head:
    """Learn the entries as the learner does: those that cannot be learnt only advance the sequence number."""
    try:
        return learn_all(head, [_entry(entry, texts) for entry in entries])
    except EventError:
        for entry in entries:
            try:
                head = learn(head, _entry(entry, texts))
            except EventError:
                head = replace(head, sequence=entry.sequence)
        return head


def _entry(event: Any, texts: Texts) -> Entry:
    try:
        return Entry.of(event, texts)
    except TextLost:  # nothing can be learnt from it any more
        return Entry(event.sequence)


def _compare_update(update: RewardUpdated, mean: np.ndarray, seen: int, done: Verification) -> None:
    where, problems = f"reward update {update.sequence}", []
    if update.event_id != derived_id("RewardUpdated", update.head_id, update.sequence):
        problems.append("its id is not derived from its head and sequence number")
    if not _close(unpack(update.mean), mean):
        problems.append("its weights do not follow from the preferences")
    if update.judgments_seen != seen:
        problems.append(f"it counts {update.judgments_seen} judged pairs, the preferences have {seen}")
    if problems:
        done.add("derived", where, update.event_id, "; ".join(problems))


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal up to rounding, which differs between processors."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-6)


def _checkpoint(path: Path, done: Verification) -> tuple[Path, int, np.ndarray] | None:
    if not path.exists():
        done.not_covered.append("the learner's checkpoint: not in this home")
        return None
    try:
        head = load(path)
    except ArtifactError as error:
        done.add("state", f"learner/{path.parent.name[:16]}/{path.name}", None, str(error))
        return None
    return path, head.sequence, head.overall.mean


def _check_versions(warehouse: Warehouse, artifacts: Artifacts, home: Path, texts: Texts, done: Verification) -> None:
    events = warehouse.events(*KINDS)
    run_artifacts = RunArtifacts(artifacts)
    life, of_run = lives_of(events, run_artifacts), runs.fold(events)
    illegal = {each.event.event_id: each for each in life.illegal}
    for each in illegal.values():
        if isinstance(each.event, ModelEvaluated | ModelPromoted):
            done.not_covered.append(f"{each.event.kind} {each.event.event_id}, which had no effect: {each.reason}")
    legal = {version.evaluated.event_id for version in life.versions.values()}
    for event in events:
        match event:
            case TrainingRequested() if event.settings is not None and of_run[event.run_id].request == event:
                _check_artifact(artifacts, event.settings, f"settings of run {event.run_id}", event.event_id, done)
            case DatasetFrozen() if of_run[event.run_id].frozen == event and of_run[event.run_id].request is not None:
                _check_artifact(artifacts, event.snapshot, f"snapshot of run {event.run_id}", event.event_id, done)
                check_snapshot(warehouse, artifacts, event, done)
            case ModelEvaluated() if event.event_id in legal:
                for kind, sha in (("policy", event.policy), ("report", event.report)):
                    _check_artifact(artifacts, sha, f"{kind} of {event.version}", event.event_id, done)
            case ModelEvaluated() if (run := of_run[event.run_id]).request and run.frozen and run.attempt:
                _check_artifact(artifacts, event.report, f"report of {event.version}", event.event_id, done)
            case DuelDecided() | CanaryStarted() if event.event_id not in illegal and event.evidence is not None:
                request = of_run[life.versions[event.version].evaluated.run_id].request
                _check_artifact(artifacts, event.evidence, f"evidence of {event.version}", event.event_id, done)
                sources = request.sources if request else ()
                _check_duel(warehouse, run_artifacts, texts, event, life.versions[event.version], sources, done)
            case ModelPromoted() if event.event_id not in illegal:
                if event.event_id != derived_id("ModelPromoted", event.review):
                    done.add("derived", f"promotion of {event.version}", event.event_id, "its id is not derived from its review")
                if event.record is None:
                    done.not_covered.append(f"promotion of {event.version}: not attested")
                else:
                    _check_artifact(artifacts, event.record, f"record of {event.version}", event.event_id, done)
    for run in warehouse.query("runs").to_pylist():
        for name, sha in orjson.loads(run["artifacts"] or "{}").items() if run["attempt"] else ():
            _check_artifact(artifacts, sha, f"{name} of run {run['run_id']}", None, done)
    remembered = home / "serving" / "champion.json"
    if remembered.exists():
        possible = {(BASE, None), *((version.name, version.evaluated.policy) for version in life.versions.values())}
        try:
            name, policy, *_ = orjson.loads(remembered.read_bytes())
            known = (name, policy) in possible and name in life.champions
        except (orjson.JSONDecodeError, ValueError, TypeError):
            known = False
        if not known:
            done.add("state", "serving/champion.json", None, "it names neither the champion nor a previous one")


def _check_artifact(artifacts: Artifacts, sha: str, name: str, event_id: UUID | None, done: Verification) -> None:
    try:
        artifacts.get(sha)
    except ArtifactError as error:
        done.add("artifact", name, event_id, str(error))


def _check_duel(
    warehouse: Warehouse,
    run_artifacts: RunArtifacts,
    texts: Texts,
    event: DuelDecided | CanaryStarted,
    version: Version,
    sources: Sequence[Source],
    done: Verification,
) -> None:
    """Compare the evidence with the judgments in the warehouse: none is invented, and none is left out that was not removed.

    Groups are not compared: they may have been recorded or withdrawn since. Nor are judgments of erased people.
    """
    evidence = run_artifacts.evidence(event.evidence or "")
    if isinstance(evidence, str):
        return  # reported by _check_artifact
    given = {each.sequence: (each.recruiter, each.outcome, each.live) for each in evidence.judgments}
    standing = {each.sequence for each in duel_judgments(warehouse, version, sources, texts)}
    known = duel_judgments(warehouse, version, sources, texts, removed=True)
    stored = {each.sequence: (each.recruiter, each.outcome, each.live) for each in known}
    erased = {row["sequence"] for row in _rows(warehouse, "erased_preferences")}
    wrong = [sequence for sequence, each in given.items() if stored.get(sequence) != each and sequence not in erased]
    missing = [sequence for sequence in standing if sequence <= event.through_sequence and sequence not in given]
    if wrong or missing:
        what = f"judgments {sorted(wrong + missing)[:5]} of its evidence are not those of the warehouse"
        done.add("derived", f"{event.kind} of {event.version}", event.event_id, what)


def check_snapshot(warehouse: Warehouse, artifacts: Artifacts, event: DatasetFrozen, done: Verification) -> None:
    """Freeze again with the same cut and compare the rows, without those of erased people."""
    try:
        snapshot = open_snapshot(artifacts.get(event.snapshot))
    except ArtifactError:
        return  # reported by _check_artifact
    manifest = snapshot.manifest
    if manifest.recipe not in (1, 2, RECIPE):  # 1 and 2 have the same files but no ratings, and 1 no groups
        done.not_covered.append(f"snapshot of run {event.run_id}: made by recipe {manifest.recipe}, which this program does not support")
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
                groups_cut=manifest.groups_cut,
                ratings_cut=manifest.ratings_cut,
            )
        except WarehouseError as error:
            done.not_covered.append(f"snapshot of run {event.run_id}: {error}")
            return
        again = open_snapshot(Path(scratch) / "again")
        erased_people = erased_names(warehouse)
        stored = {name: snapshot.stored(name) for name in SNAPSHOT_TABLES}
        kept = {name: without_erased(table, erased_people) for name, table in stored.items()}
        erased = sum(stored[name].num_rows - kept[name].num_rows for name in SNAPSHOT_TABLES)
        if erased:
            done.not_covered.append(f"snapshot of run {event.run_id}: {erased} rows of people who are erased since")
        differing = [name for name in SNAPSHOT_TABLES if not _same(kept[name], _comparable(again.stored(name), kept[name], erased))]
    if differing or manifest.run_id != event.run_id:
        problem = f"freezing again gives different {' and '.join(differing)}" if differing else "its manifest names another run"
        done.add("derived", f"snapshot of run {event.run_id}", event.event_id, problem)


def _comparable(again: pa.Table, kept: pa.Table, erased: int) -> pa.Table:
    """The rows frozen again, without the replies that stand in for the first one to a prompt, if that is erased."""
    if not erased or "reply_id" not in again.schema.names:
        return again
    return again.filter(pc.is_in(again["reply_id"], kept["reply_id"].combine_chunks()))


def _same(one: pa.Table, other: pa.Table) -> bool:
    return bool(one.equals(other.cast(one.schema))) if one.schema.names == other.schema.names else False


def _embeddings(warehouse: Warehouse) -> list[tuple[str, int]]:
    """Embedding hashes of the preferences, each with the number of components of vectors of the most frequent length."""
    rows = warehouse.query("embeddings").to_pylist()
    return [(row["embedding_hash"], bytes_of(row["a"]) // 4 if is_sealed(row["a"]) else len(unpack(row["a"]))) for row in rows]


def _numbered(warehouse: Warehouse) -> Iterator[Any]:
    after = 0
    while some := warehouse.preferences_after(after, BATCH):
        yield from some
        after = some[-1].sequence


def _rows(warehouse: Warehouse, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(query).to_pylist()
    return rows
