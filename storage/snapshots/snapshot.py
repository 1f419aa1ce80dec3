"""Frozen data of one training run: Parquet files and a manifest with their hashes.

The hub calls ``freeze`` for each requested run; the trainer opens the folder through the artifact store. All data is cut at a sequence
number or a log offset and totally ordered, so that freezing again gives the same bytes.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.errors import ArtifactError, WarehouseError
from storage.events import Sha256, Source
from storage.files import file_hash
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse

MANIFEST = "manifest.json"
REPLIES, OUTCOMES = "chat.replies", "candidates.outcomes"
RATINGS, JUDGMENTS, PAIRS = "feedback.ratings", "feedback.judgments", "feedback.pairs"
RECIPE: Final = 3  # increment when the same arguments give different bytes
ROW_GROUP_SIZE = 10_000

FileName = Literal["preferences.parquet", "prompts.parquet", "groups.parquet", "ratings.parquet"]

RATING_COLUMNS: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id", "side", "conversation_id", "prompt", "reply")),
        ("good", pa.bool_()),
        *((name, pa.string()) for name in ("recruiter", "stratum", "source")),
        ("occurred_at", pa.timestamp("us", "UTC")),
    ]
)


TableName = Literal["preferences", "prompts", "groups", "ratings"]
EMPTY: Final[Mapping[str, pa.Table]] = {
    "groups": pa.table({name: pa.array([], pa.string()) for name in ("conversation_id", "attribute", "group")}),
    "ratings": RATING_COLUMNS.empty_table(),
}


class FrozenFile(BaseModel):
    """One Parquet file of a snapshot."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    rows: Annotated[int, Field(ge=0)]


class Manifest(BaseModel):
    """Content and cut of a snapshot; contains no timestamps, so that the same cut has the same hash.

    Attributes
    ----------
    recipe : version of the queries and columns; 1 had no groups, 2 no ratings
    run_id : the training run
    through_sequence : preferences up to this number, without those removed by then
    sources : sources of the included rows
    replies_since, replies_cut : prompts after the first and up to the second offset of ``chat.replies``, by partition
    groups_cut : groups of candidates up to this offset of ``candidates.outcomes``, by partition
    ratings_cut : thumbs, judgments "neither" and their pairs up to these offsets, by topic and partition
    files : the Parquet files
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Literal[1, 2, 3] = RECIPE
    run_id: UUID
    through_sequence: Annotated[int, Field(ge=0)]
    sources: tuple[Source, ...]
    replies_since: dict[int, int]
    replies_cut: dict[int, int]
    groups_cut: dict[int, int] = Field(default_factory=dict)
    ratings_cut: dict[str, dict[int, int]] = Field(default_factory=dict)
    files: dict[FileName, FrozenFile]


@dataclass(frozen=True)
class Snapshot:
    """A verified snapshot. Its tables have the columns of the queries ``preferences_frozen``, ``prompts_frozen`` and so on.

    ``texts`` opens their texts.
    """

    folder: Path
    manifest: Manifest
    texts: Texts = PLAIN

    def stored(self, name: TableName) -> pa.Table:
        """The table as it is in the file, with texts sealed; empty in a snapshot of a recipe without it."""
        if f"{name}.parquet" not in self.manifest.files:
            return EMPTY[name]
        return pq.read_table(self.folder / f"{name}.parquet")

    @cached_property
    def preferences(self) -> pa.Table:
        return self.texts.table(self.stored("preferences"))

    @cached_property
    def prompts(self) -> pa.Table:
        """The prompts; those that were logged before texts were sealed, and again since, once."""
        stored = self.stored("prompts")
        opened = self.texts.table(stored)
        if opened is stored:
            return stored
        first = {prompt: row for row, prompt in reversed(list(enumerate(opened["prompt"].to_pylist())))}
        return opened.take(pa.array(sorted(first.values()), pa.int64()))

    @cached_property
    def groups(self) -> pa.Table:
        """The recorded groups of the conversations' candidates, which only audits read."""
        return self.texts.table(self.stored("groups"))

    @cached_property
    def ratings(self) -> pa.Table:
        """What recruiters said of single replies: thumbs, and both replies of a pair judged "neither"."""
        return self.texts.table(self.stored("ratings"))

    @cached_property
    def admitted(self) -> pa.Table:
        """The preferences that may be trained or evaluated on: see :func:`without_overlap`."""
        return without_overlap(self.preferences, self.prompts)

    @cached_property
    def admitted_ratings(self) -> pa.Table:
        """The ratings that may be trained on: none of a prompt or conversation that the evaluation stratum has."""
        held = self.preferences.filter(pc.equal(self.preferences["stratum"], "evaluation"))
        return without_overlap(self.ratings, self.prompts, held)

    @property
    def overlap(self) -> int:
        """Number of training preferences excluded because of overlap with the evaluation stratum."""
        return int(self.preferences.num_rows - self.admitted.num_rows)


def without_overlap(rows: pa.Table, *held_out: pa.Table) -> pa.Table:
    """Exclude training rows whose prompt or conversation is in the evaluation stratum of ``rows``, or in ``held_out``, as well.

    Different candidates may open with the same words, and a conversation may have changed strata with the split's key. A challenger must
    not be trained on what it is evaluated on, so the rows are dropped from training.
    """
    evaluation = pc.equal(rows["stratum"], "evaluation")
    held = [rows.filter(evaluation), *held_out]
    shared = [
        pc.is_in(rows[name], pa.chunked_array([chunk for table in held for chunk in table[name].chunks], rows.schema.field(name).type))
        for name in ("prompt", "conversation_id")
    ]
    return rows.filter(pc.or_kleene(evaluation, pc.invert(pc.or_(*shared))))


def freeze(
    warehouse: Warehouse,
    folder: Path,
    *,
    run_id: UUID | str,
    through_sequence: int,
    sources: Sequence[Source],
    since: Mapping[int, int] | None = None,
    cut: Mapping[int, int] | None = None,
    groups_cut: Mapping[int, int] | None = None,
    ratings_cut: Mapping[str, Mapping[int, int]] | None = None,
) -> Manifest:
    """Write the snapshot into ``folder``, which must be empty or not exist.

    Parameters
    ----------
    through_sequence : the last numbered preference to include
    sources : sources of judgments and replies to include
    since : offsets of ``chat.replies`` by partition; only later replies become evaluation prompts. Default: all
    cut : the last offsets to include, by partition. Default: what the warehouse has read. Pass the manifest's to reproduce a snapshot
    groups_cut : as ``cut``, for the groups of candidates on ``candidates.outcomes``
    ratings_cut : as ``cut``, by topic, for ratings; a topic that it lacks has none

    Raises
    ------
    WarehouseError
        The warehouse has not read that far.
    """
    if through_sequence > warehouse.last_sequence:
        raise WarehouseError(
            f"the warehouse is at preference {warehouse.last_sequence}, behind {through_sequence}: let it catch up, then freeze again"
        )
    if folder.exists() and any(folder.iterdir()):
        raise ArtifactError(f"{folder} is not empty: name a folder that does not exist yet")
    upto = _upto(warehouse, REPLIES, cut)
    groups_upto = _upto(warehouse, OUTCOMES, groups_cut)
    ratings_upto = {
        topic: _upto(warehouse, topic, None if ratings_cut is None else ratings_cut.get(topic, {})) for topic in (RATINGS, JUDGMENTS, PAIRS)
    }
    beyond = {partition: (since or {}).get(partition, -1) for partition in upto}
    wanted: tuple[Source, ...] = tuple(sorted(set(sources)))

    preferences = {"through_sequence": through_sequence, "sources": list(wanted)}
    prompts = {"sources": list(wanted), "partitions": list(upto), "cut": list(upto.values()), "since": list(beyond.values())}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".freezing-", ignore_cleanup_errors=True) as scratch:
        staged = Path(scratch) / "snapshot"
        staged.mkdir()
        files: dict[FileName, FrozenFile] = {
            "preferences.parquet": _write(warehouse, "preferences_frozen", preferences, staged / "preferences.parquet"),
            "prompts.parquet": _write(warehouse, "prompts_frozen", prompts, staged / "prompts.parquet"),
        }
        groups = {
            "conversations": _conversations(staged),
            "partitions": list(upto),
            "cut": list(upto.values()),
            "groups_partitions": list(groups_upto),
            "groups_cut": list(groups_upto.values()),
        }
        files["groups.parquet"] = _write(warehouse, "groups_frozen", groups, staged / "groups.parquet")
        ratings = _ratings_asked(through_sequence, wanted, upto, ratings_upto)
        files["ratings.parquet"] = _write(warehouse, "ratings_frozen", ratings, staged / "ratings.parquet")
        manifest = Manifest(
            run_id=UUID(str(run_id)),
            through_sequence=through_sequence,
            sources=wanted,
            replies_since=beyond,
            replies_cut=upto,
            groups_cut=groups_upto,
            ratings_cut=ratings_upto,
            files=files,
        )
        (staged / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(staged, folder)
    return manifest


def current_ratings(warehouse: Warehouse, sources: Sequence[Source]) -> pa.Table:
    """The ratings that a snapshot frozen now would hold, without writing one."""
    upto = {topic: _upto(warehouse, topic, None) for topic in (REPLIES, RATINGS, JUDGMENTS, PAIRS)}
    return warehouse.query("ratings_frozen", _ratings_asked(warehouse.last_sequence, sources, upto.pop(REPLIES), upto))


def open_snapshot(folder: Path, texts: Texts = PLAIN) -> Snapshot:
    """Open a snapshot, whose texts ``texts`` opens as they are read, and verify its files against the manifest.

    Raises
    ------
    ArtifactError
        It is not a snapshot, has an unknown recipe, or a file does not match the manifest.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ArtifactError(f"{folder} has no {MANIFEST}: it is not a snapshot") from error
    except ValidationError as error:
        raise ArtifactError(f"{folder / MANIFEST} is not a manifest that this program can read: {error.errors()[0]['msg']}") from error
    for name, expected in manifest.files.items():
        if not (folder / name).is_file() or file_hash(folder / name) != expected.sha256:
            raise ArtifactError(f"{folder / name} does not match the manifest: freeze the run's data again")
    return Snapshot(folder, manifest, texts)


def _upto(warehouse: Warehouse, topic: str, cut: Mapping[int, int] | None) -> dict[int, int]:
    """The last offset of the topic to include, by partition in ascending order: ``cut``, or what the warehouse has read."""
    read = {partition: offset for (name, partition), offset in warehouse.offsets().items() if name == topic}
    upto = read if cut is None else cut
    for partition in sorted(upto):
        if upto[partition] > read.get(partition, -1):
            raise WarehouseError(
                f"the warehouse has not read {topic} partition {partition} up to {upto[partition]}: let it catch up, then freeze again"
            )
    return {partition: upto[partition] for partition in sorted(upto)}


def _ratings_asked(
    through_sequence: int, sources: Sequence[Source], replies: Mapping[int, int], upto: Mapping[str, Mapping[int, int]]
) -> dict[str, Any]:
    """The parameters of the query ``ratings_frozen`` for cuts of ``chat.replies`` and, by topic, of the ratings."""
    asked: dict[str, Any] = {"through_sequence": through_sequence, "sources": list(sources)}
    cuts = {"": replies, "ratings_": upto[RATINGS], "judgments_": upto[JUDGMENTS], "pairs_": upto[PAIRS]}
    for name, cut in cuts.items():
        asked |= {f"{name}partitions": list(cut), f"{name}cut": list(cut.values())}
    return asked


def _conversations(staged: Path) -> list[str]:
    """The conversations of the snapshot's preferences and prompts."""
    tables = [pq.read_table(staged / name, columns=["conversation_id"]) for name in ("preferences.parquet", "prompts.parquet")]
    return sorted({each for table in tables for each in table["conversation_id"].to_pylist()})


def _write(warehouse: Warehouse, query: str, parameters: dict[str, Any], path: Path) -> FrozenFile:
    """Write the query's result as Parquet, in row groups of fixed size regardless of the batches it arrives in."""
    rows = 0
    with warehouse.stream(query, parameters, ROW_GROUP_SIZE) as reader:
        with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
            for batch in _regrouped(reader):
                writer.write_table(batch, row_group_size=ROW_GROUP_SIZE)
                rows += batch.num_rows
    return FrozenFile(sha256=file_hash(path), rows=rows)


def _regrouped(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in reader:
        while count + batch.num_rows >= ROW_GROUP_SIZE:
            taken = ROW_GROUP_SIZE - count
            yield pa.Table.from_batches([*held, batch.slice(0, taken)])
            held, count, batch = [], 0, batch.slice(taken)
        held.append(batch)
        count += batch.num_rows
    if count:
        yield pa.Table.from_batches(held)
