"""A snapshot has the same bytes whenever it is frozen, holds exactly what it should, and is verified when opened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from storage.errors import ArtifactError, WarehouseError
from storage.events import unpack
from storage.snapshots.snapshot import Manifest, freeze, open_snapshot
from storage.strata import stratum_of
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import Log, apply, features, id_of, judgment, pair, reply

RUN = id_of("run")
EVALUATION = [n for n in range(80) if stratum_of(f"conversation-{n}") == "evaluation"]
TRAINING = [n for n in range(80) if stratum_of(f"conversation-{n}") == "training"]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[tuple[Warehouse, Log]]:
    log = Log()
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        facts = [make(n) for n in range(10) for make in (pair, features, judgment)]
        apply(warehouse, log, *facts, *(reply(n) for n in range(80)))
        yield warehouse, log


def frozen(warehouse: Warehouse, folder: Path, **values: Any) -> Manifest:
    arguments: dict[str, Any] = {"run_id": RUN, "through_sequence": warehouse.last_sequence, "sources": ("product",)}
    return freeze(warehouse, folder, **(arguments | values))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_freezing_again_gives_the_same_bytes_though_more_has_come(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    manifest = frozen(warehouse, tmp_path / "first", through_sequence=8)
    apply(warehouse, log, *(make(n) for n in range(20, 24) for make in (pair, features, judgment)), judgment(1, "skip", minute=5))
    apply(warehouse, log, *(reply(n) for n in range(100, 140)))
    cuts: dict[str, Any] = {"cut": manifest.replies_cut, "ratings_cut": manifest.ratings_cut}
    frozen(warehouse, tmp_path / "second", through_sequence=8, **cuts)
    path = warehouse.path
    warehouse.close()
    with Warehouse.open(path) as reopened:
        frozen(reopened, tmp_path / "third", through_sequence=8, **cuts)
    first = contents(tmp_path / "first")
    assert set(first) == {"manifest.json", "preferences.parquet", "prompts.parquet", "groups.parquet", "ratings.parquet"}
    assert contents(tmp_path / "second") == first
    assert contents(tmp_path / "third") == first


def test_the_preferences_are_those_that_hold_with_all_that_training_needs(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(warehouse, log, judgment(1, "skip", minute=5), judgment(2, "tie", "r-2", strength=2, shown_first="B"))
    frozen(warehouse, tmp_path / "s")
    rows = open_snapshot(tmp_path / "s").preferences.to_pylist()
    assert [row["sequence"] for row in rows] == [1, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    row = rows[-1]
    assert (row["choice"], row["strength"], row["shown_first"], row["recruiter"]) == ("tie", 2, "B", "r-2")
    assert (row["a"], row["b"], row["conversation_id"]) == (pair(2).a.text, pair(2).b.text, "conversation-2")
    assert (row["objective"], row["stratum"], row["event_id"]) == (
        "overall",
        pair(2).stratum,
        str(judgment(2, "tie", "r-2").event_id),
    )
    assert unpack(row["features_b"]).tolist() == unpack(features(2).b).tolist()
    assert {row["stratum"] for row in rows} == {"training", "evaluation"}


def test_a_judgment_without_an_overall_choice_is_a_row_for_each_objective_it_answers(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    answers = {"safe": "B", "helpful": "A", "short": "skip"}
    apply(warehouse, log, pair(30), features(30), judgment(30, None, objectives=answers), judgment(2, "tie", "r-2"))
    frozen(warehouse, tmp_path / "s")
    rows = open_snapshot(tmp_path / "s").preferences.to_pylist()[-3:]
    assert [(row["sequence"], row["objective"], row["choice"]) for row in rows] == [
        (11, "helpful", "A"),
        (11, "safe", "B"),
        (12, "overall", "tie"),
    ]


def test_only_the_named_sources_enter(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    simulated = EVALUATION[-1] + 100
    while stratum_of(f"conversation-{simulated}") != "evaluation":
        simulated += 1
    apply(warehouse, log, pair(31), features(31), judgment(31, source="simulation"), reply(simulated, source="simulation"))
    frozen(warehouse, tmp_path / "product")
    frozen(warehouse, tmp_path / "both", sources=("simulation", "product"))
    counts = {
        name: {file: frozen.rows for file, frozen in open_snapshot(tmp_path / name).manifest.files.items()} for name in ("product", "both")
    }
    others = {"groups.parquet": 0, "ratings.parquet": 0}
    assert counts["product"] == {"preferences.parquet": 10, "prompts.parquet": len(EVALUATION), **others}
    assert counts["both"] == {"preferences.parquet": 11, "prompts.parquet": len(EVALUATION) + 1, **others}


def test_the_prompts_are_the_evaluation_stratums_once_each_within_the_cut(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    again = reply(EVALUATION[0]).model_copy(
        update={"event_id": id_of("again"), "reply": "Another answer.", "occurred_at": reply(900).occurred_at}
    )
    apply(warehouse, log, again)
    frozen(warehouse, tmp_path / "all")
    rows = open_snapshot(tmp_path / "all").prompts.to_pylist()
    assert [UUID(row["reply_id"]) for row in rows] == [reply(n).event_id for n in EVALUATION]
    manifest = frozen(warehouse, tmp_path / "later", since={0: EVALUATION[2]}, cut={0: EVALUATION[5]})
    rows = open_snapshot(tmp_path / "later").prompts.to_pylist()
    assert [UUID(row["reply_id"]) for row in rows] == [reply(n).event_id for n in EVALUATION[3:6]]
    assert (manifest.replies_since, manifest.replies_cut) == ({0: EVALUATION[2]}, {0: EVALUATION[5]})


def test_a_snapshot_of_many_rows_has_the_same_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.snapshots.snapshot.ROW_GROUP_SIZE", 17)
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        apply(warehouse, Log(), *(reply(n) for n in range(400)))
        manifest = frozen(warehouse, tmp_path / "one", through_sequence=0)
        frozen(warehouse, tmp_path / "two", through_sequence=0)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    sizes = [pq.ParquetFile(tmp_path / "one" / "prompts.parquet").metadata.row_group(n).num_rows for n in range(5)]
    assert sizes == [17] * 5
    assert manifest.files["prompts.parquet"].rows == sum(stratum_of(f"conversation-{n}") == "evaluation" for n in range(400))


def test_a_snapshot_that_was_tampered_with_is_refused(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    frozen(loop[0], tmp_path / "s")
    file = tmp_path / "s" / "prompts.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"prompts\.parquet does not match the manifest"):
        open_snapshot(tmp_path / "s")
    file.unlink()
    with pytest.raises(ArtifactError, match=r"prompts\.parquet"):
        open_snapshot(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").write_text('{"recipe": 4}')
    with pytest.raises(ArtifactError, match="not a manifest that this program can read"):
        open_snapshot(tmp_path / "s")
    with pytest.raises(ArtifactError, match="it is not a snapshot"):
        open_snapshot(tmp_path)


def test_what_the_warehouse_has_not_read_yet_cannot_be_frozen(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="is at preference 10, behind 11"):
        frozen(loop[0], tmp_path / "s", through_sequence=11)
    with pytest.raises(WarehouseError, match="partition 0 up to 80"):
        frozen(loop[0], tmp_path / "s", cut={0: 80})
    frozen(loop[0], tmp_path / "s")
    with pytest.raises(ArtifactError, match="not empty"):
        frozen(loop[0], tmp_path / "s")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".freezing")]


def test_training_preferences_that_overlap_with_evaluation_are_excluded(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    shared, changed = TRAINING[0], TRAINING[1]
    same_words = reply(200, prompt=pair(shared).prompt, stratum="evaluation")
    apply(warehouse, log, same_words, reply(201, conversation_id=f"conversation-{changed}", stratum="evaluation"))
    frozen(warehouse, tmp_path / "s")
    snapshot = open_snapshot(tmp_path / "s")
    left_out = {f"conversation-{shared}", f"conversation-{changed}"}
    kept = set(snapshot.admitted["conversation_id"].to_pylist())
    assert snapshot.overlap == 2
    assert kept == set(snapshot.preferences["conversation_id"].to_pylist()) - left_out
