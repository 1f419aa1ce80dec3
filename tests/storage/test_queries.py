"""Every named query runs on an empty warehouse, and those behind pages and commands return the right rows."""

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import pytest

from storage.events import (
    DatasetFrozen,
    DecisionMade,
    ModelEvaluated,
    PersonErased,
    RewardUpdated,
    RunClaimed,
    SignedIn,
    SignedOut,
    TrainingFailed,
    TrainingProgress,
    TrainingRequested,
)
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import HASH, VECTOR, Log, apply, at, erasure, features, id_of, judgment, one_of_each, pair, reply

QUERIES = resources.files("storage.warehouse") / "queries"
FILES = sorted(file.name.removesuffix(".sql") for file in QUERIES.iterdir() if file.name.endswith(".sql"))
EXAMPLES: dict[str, Any] = {
    "limit": 3,
    "recruiter": "r-1",
    "person": "p-1",
    "name": "c-1",
    "what": "candidate",
    "rows": 3,
    "pair_id": str(id_of("pair", 1)),
    "run_id": str(id_of("run")),
    "ids": [str(id_of("pair", 1))],
    "seconds": 60,
    "since": at(0),
    "before": at(99),
    "n": 0,
    "low": 1,
    "high": 9,
    "through_sequence": 9,
    "sources": ["product"],
    "opinions": 1,
    "window": 10,
    "partitions": [0],
    "cut": [9],
    "groups_partitions": [0],
    "groups_cut": [9],
    **{f"{name}_{what}": value for name in ("ratings", "judgments", "pairs") for what, value in (("partitions", [0]), ("cut", [9]))},
    "conversations": ["conversation-1"],
    "until": at(99),
    "challenger": "v-1",
    "champion": "base",
    "pair_ids": [str(id_of("pair", 1))],
    "embedding_hash": HASH,
}


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(tmp_path / "warehouse.duckdb") as opened:
        opened.claim_epoch(1, published=0)
        yield opened


def ask(warehouse: Warehouse, name: str, **parameters: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = warehouse.query(name, parameters).to_pylist()
    return rows


def test_every_query_runs_on_an_empty_warehouse_and_on_one_with_every_kind_of_event(warehouse: Warehouse) -> None:
    everything = [event for event in one_of_each() if event.kind not in ("HubClaimed", "PreferenceJoined", "PreferenceRemoved")]
    for _ in range(2):
        for name in FILES:
            text = (QUERIES / f"{name}.sql").read_text()
            wanted = set(re.findall(r"\$(\w+)", re.sub(r"--.*", "", text)))
            parameters = {
                key: [-1] if (name, key) in (("prompts_frozen", "since"), ("evidence_counted", "since")) else EXAMPLES[key]
                for key in wanted
            }
            warehouse.query(name, parameters)
        apply(warehouse, Log(), *everything)


def test_the_stations_are_counted(warehouse: Warehouse) -> None:
    apply(warehouse, Log(), pair(1), features(1), judgment(1), judgment(1, "skip", minute=1), judgment(2), reply(1), pair(3))
    counts = {row["station"]: row["n"] for row in ask(warehouse, "counts")}
    assert {name: n for name, n in counts.items() if n} == {
        "replies": 1,
        "pairs": 2,
        "embedded": 1,
        "judgments": 3,
        "preferences": 1,
        "removed": 1,
    }


def test_the_rating_queue_holds_the_pairs_that_the_recruiter_may_still_judge(warehouse: Warehouse) -> None:
    facts = [pair(n) for n in range(1, 7)] + [pair(7, drawn="imported"), pair(8, drawn="edited")]
    apply(warehouse, Log(), *facts, *(features(n) for n in (1, 2, 3, 4, 5, 7, 8)))
    log = Log()
    log.add(b"")
    apply(warehouse, log, judgment(2, "A", "r-1"), judgment(2, "B", "r-2"), judgment(3, "skip", "r-2"))
    newest = ask(warehouse, "rating_queue", recruiter="r-1", opinions=1, limit=3, window=1000)
    assert [row["pair_id"] for row in newest] == [str(id_of("pair", n)) for n in (5, 4, 3)]
    assert [row["judgments"] for row in newest] == [0, 0, 1]  # a skip is no opinion
    assert (newest[0]["a"], orjson.loads(newest[0]["prompt"])[1]["content"]) == (pair(5).a.text, pair(5).prompt[1].content)
    once_more = ask(warehouse, "rating_queue", recruiter="r-3", opinions=3, limit=10, window=1000)
    assert [row["pair_id"] for row in once_more] == [str(id_of("pair", n)) for n in (5, 4, 3, 2, 1)]
    twice = ask(warehouse, "rating_queue", recruiter="r-3", opinions=2, limit=10, window=1000)
    assert str(id_of("pair", 2)) not in {row["pair_id"] for row in twice}
    looked_at = ask(warehouse, "rating_queue", recruiter="r-3", opinions=3, limit=10, window=5)
    assert [row["pair_id"] for row in looked_at] == [str(id_of("pair", n)) for n in (5, 4)]  # two are not for rating, one is not embedded


def test_a_pair_stamped_in_the_future_is_not_the_newest_for_ever(warehouse: Warehouse) -> None:
    early = pair(1).model_copy(update={"occurred_at": at(60 * 24 * 3650)})
    apply(warehouse, Log(), early, pair(2), pair(3), *(features(n) for n in (1, 2, 3)))
    rows = ask(warehouse, "rating_queue", recruiter="r-1", opinions=1, limit=10, window=1000)
    assert [row["pair_id"] for row in rows] == [str(id_of("pair", n)) for n in (3, 2, 1)]


def test_one_pair_is_found_with_its_judgments(warehouse: Warehouse) -> None:
    apply(warehouse, Log(), pair(1), pair(2), features(2), judgment(1, "B", reason="shorter"), judgment(1, "tie", "r-2", minute=-1))
    (row,) = ask(warehouse, "pair", pair_id=str(id_of("pair", 1)))
    assert (row["embedded"], row["judgments"], row["b_version"]) == (False, 2, "base")
    assert ask(warehouse, "pair", pair_id=str(id_of("pair", 2)))[0]["embedded"]
    assert ask(warehouse, "pair", pair_id=str(id_of("nothing"))) == []


def test_waiting_judgments_are_listed_longest_first(warehouse: Warehouse) -> None:
    apply(warehouse, Log(), judgment(3), pair(2), judgment(2), features(1), judgment(1), judgment(4), pair(4), features(4))
    rows = ask(warehouse, "waiting", limit=10)
    assert [row["waits_for"] for row in rows] == ["pair", "features", "pair and features"]
    assert rows[0]["seconds"] > rows[1]["seconds"]
    (lost,) = ask(warehouse, "pairs_without_features", before=at(50), limit=5)
    assert lost["pair_id"] == str(id_of("pair", 2))
    assert ask(warehouse, "pairs_without_features", before=at(2), limit=5) == []


def test_judgments_are_counted_by_recruiter_and_the_latest_come_first(warehouse: Warehouse) -> None:
    given = [judgment(n, ("A", "B", "skip")[n % 3]) for n in range(30)]
    apply(warehouse, Log(), *given, judgment(40, None, objectives={"helpful": "A"}, source="import"))
    (product, imported) = ask(warehouse, "recruiters")
    assert (product["judgments"], imported["source"]) == (30, "import")
    (latest, *_) = ask(warehouse, "recent_judgments", limit=2)
    assert latest["choice"] is None


def test_a_run_is_one_row_with_its_state(warehouse: Warehouse) -> None:
    run, other = id_of("run", 1), id_of("run", 2)
    asked = {"source": "product", "method": "dpo", "threshold": "count", "through_sequence": 9, "sources": ("product",)}
    log = Log()
    apply(
        warehouse,
        log,
        TrainingRequested(**asked, run_id=run, k=1, occurred_at=at(0)),
        TrainingRequested(**asked, run_id=other, k=2, occurred_at=at(1)),
        DatasetFrozen(source="product", run_id=run, snapshot=HASH, champion="base", champion_policy=None, challengers_before=0),
        DatasetFrozen(source="product", run_id=run, snapshot="1" * 64, champion="base", champion_policy=None, challengers_before=0),
        RunClaimed(source="product", run_id=run, attempt=1, trainer="t-1"),
        TrainingFailed(source="product", run_id=run, attempt=1, stage="train", reason="killed", final=False),
        RunClaimed(source="product", run_id=run, attempt=2, trainer="t-2"),
        RunClaimed(source="product", run_id=run, attempt=2, trainer="t-3"),
        TrainingProgress(source="product", run_id=run, attempt=2, stage="train", step=1, steps=9, metrics={"loss": 0.5}),
        TrainingProgress(source="product", run_id=run, attempt=2, stage="train", step=2, steps=9, metrics={"loss": 0.4}),
    )
    waiting, running = ask(warehouse, "runs")
    assert (waiting["run_id"], waiting["snapshot"], waiting["stage"]) == (str(other), None, None)
    assert (running["snapshot"], running["attempt"], running["trainer"], running["step"]) == (HASH, 2, "t-2", 2)
    assert (running["failed_stage"], running["final"], running["verdict"]) == ("train", False, None)
    progress = ask(warehouse, "run_progress", run_id=str(run))
    assert [orjson.loads(row["metrics"])["loss"] for row in progress] == [0.5, 0.4]
    evaluated = next(event for event in one_of_each() if isinstance(event, ModelEvaluated))
    apply(warehouse, log, evaluated.model_copy(update={"run_id": run}))
    assert (ask(warehouse, "runs")[1]["version"], ask(warehouse, "runs")[1]["verdict"]) == ("v-1", "failed")


def test_the_reward_history_is_the_latest_updates_in_log_order(warehouse: Warehouse) -> None:
    def update(sequence: int, head: str) -> RewardUpdated:
        return RewardUpdated(
            source="product",
            occurred_at=at(sequence),
            head_id=head,
            sequence=sequence,
            judgments_before=0,
            judgments_seen=sequence,
            mean=VECTOR,
            prequential_accuracy=0.5,
            prequential_log_loss=0.7,
            prequential_n=3,
            checkpoint=HASH,
        )

    apply(warehouse, Log(), *(update(n, HASH) for n in range(1, 8)), update(3, "1" * 64))
    assert [row["sequence"] for row in ask(warehouse, "reward_history", limit=3)] == [6, 7, 3]


def test_an_export_is_what_a_snapshot_holds_without_features(warehouse: Warehouse) -> None:
    apply(warehouse, Log(), pair(1), features(1), judgment(1), judgment(1, "B", "r-2"), judgment(1, "skip", "r-2", minute=2))
    asked = {"through_sequence": 9, "sources": ["product"]}
    frozen, exported = ask(warehouse, "preferences_frozen", **asked), ask(warehouse, "preferences_export", **asked)
    assert [{name: value for name, value in row.items() if not name.startswith("features_")} for row in frozen] == exported
    assert [row["sequence"] for row in exported] == [1]


def test_the_audit_trail_names_erasures_and_counts_by_day_what_retention_ended(warehouse: Warehouse) -> None:
    asked = erasure("candidate", "c-1")
    ended = [PersonErased.of("conversation", f"conversation-{n}", "retention", at(3)) for n in (2, 3)]
    record = PersonErased.of("record", str(id_of("a record")), "retention", at(3))
    the_day_before = PersonErased.of("conversation", "conversation-4", "retention", at(3 - 24 * 60))
    apply(
        warehouse,
        Log(),
        SignedIn(source="product", occurred_at=at(1), person="p-1", how="local"),
        DecisionMade(source="product", occurred_at=at(2), caller="person:p-1", decision=asked.event_id),
        SignedOut(source="product", occurred_at=at(4), person="p-1"),
        *(the_day_before, *ended, record, asked),
    )
    assert [(row["what"], row["who"], row["about"]) for row in ask(warehouse, "audit_trail", rows=9)] == [
        ("signed out", "p-1", None),
        ("ended by retention", None, "conversations: 2"),
        ("ended by retention", None, "records: 1"),
        ("decided", "person:p-1", "erase candidate c-1"),
        ("signed in", "p-1", "local"),
        ("ended by retention", None, "conversations: 1"),
    ]


def test_no_query_is_unused() -> None:
    root = Path(__file__).parents[2]
    rooms = ("storage", "trainers", "streams", "access", "serving", "dashboard", "deploy")
    code = "\n".join(path.read_text(encoding="utf-8") for room in rooms for path in (root / room).rglob("*.py"))
    assert [name for name in FILES if f'"{name}"' not in code] == []
