"""From a log with sealed texts the hub and a run read the same as from a plain one; what was sealed under a lost key is left out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dashboard.actions.exports import Exporter
from dashboard.actions.ranking import Ranking
from dashboard.actions.rating_queue import RatingQueue
from dashboard.status.backlog import Outstanding
from storage.artifacts import Artifacts
from storage.errors import DataRefused, TextLost
from storage.events import Event, GroupsRecorded, OutcomeRecorded, PairDrawn, PairEmbedded, derived_id
from storage.snapshots.evidence import count_evidence
from storage.snapshots.snapshot import freeze, open_snapshot
from storage.texts.keys import SQLiteTextKeys
from storage.texts.sealed import kid_of
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.warehouse import Warehouse
from streams.asking import AskingSettings
from streams.derived import Verification, check_snapshot
from streams.privacy.sealing import Sealer
from tests.storage.facts import HASH, Log, apply, at, features, id_of, judgment, one_of_each, pair, reply, thumb
from tests.trainers.preferences import changed, drawn, preference_in
from trainers.audits.outcomes.tables import outcomes_table
from trainers.reward.model import RewardModel
from trainers.reward.online.learn import learn_all, new_head
from trainers.reward.online.settings import HeadSettings
from trainers.rlhf import _data as rlhf_data
from trainers.runs.data import RunData

WORDS = b"On Tuesday, for job"


class Side(NamedTuple):
    """A warehouse, its log, and what opens its texts."""

    warehouse: Warehouse
    texts: Texts
    log: Log


def said() -> list[Event]:
    """Twelve pairs, of which the last four are not judged; replies, of which some have the same prompt; thumbs and a comment."""
    judged: list[Event] = [make(n) for n in range(8) for make in (pair, features)]
    judged += [judgment(n, "AB"[n % 2], reason=f"because of {n}") for n in range(8)]
    waiting = [
        make(n, **({"arm": "informative", "stratum": "training"} if make is pair else {}))
        for n in range(8, 12)
        for make in (pair, features)
    ]
    replies = [reply(n, text=f"Question {n // 2}?", stratum="evaluation") for n in range(100, 112)]
    comment = thumb(101).model_copy(update={"event_id": id_of("comment"), "thumb": None, "comment": "too long"})
    decided = [event for n in (100, 101) for event in decision(n)]
    return [*judged, *waiting, *replies, reply(200), thumb(200), thumb(100, "down"), comment, *decided]


def decision(number: int) -> list[Event]:
    """The groups of a candidate and a decision about them."""
    about: dict[str, Any] = {"occurred_at": at(1), "source": "product", "candidate": f"c-{number}"}
    groups = {"sex": ("female", "male")[number % 2], "age": "40+"}
    outcome: dict[str, Any] = {"outcome_id": "o", "position": "nurse", "stage": "screening", "selected": True, "decided_at": at(1)}
    return [
        GroupsRecorded(**about, event_id=id_of("groups", number), groups=groups),
        OutcomeRecorded(**about, event_id=id_of("outcome", number), **outcome),
    ]


def closed(events: Sequence[Event], sealer: Sealer, texts: Texts) -> list[Event]:
    logged = sealer.logged(events)
    pairs = {event.pair_id: event for event in logged if isinstance(event, PairDrawn)}
    return [
        event.model_copy(update={side: texts.sealed_like(getattr(event, side), pairs[event.pair_id].a.text) for side in "ab"})
        if isinstance(event, PairEmbedded)
        else event
        for event in logged
    ]


@pytest.fixture
def keys(tmp_path: Path) -> SQLiteTextKeys:
    return SQLiteTextKeys(tmp_path / "text-keys.sqlite")


@pytest.fixture
def sides(tmp_path: Path, keys: SQLiteTextKeys) -> Iterator[tuple[Side, Side]]:
    """The plain warehouse and the sealed one."""
    texts, opened = Texts(keys), []
    for name, events, opener in (("plain", said(), PLAIN), ("sealed", closed(said(), Sealer(keys, b"k"), texts), texts)):
        warehouse, log = Warehouse.open(tmp_path / f"{name}.duckdb"), Log()
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, *events)
        opened.append(Side(warehouse, opener, log))
    yield opened[0], opened[1]
    for side in opened:
        side.warehouse.close()


def frozen(side: Side, folder: Path) -> Path:
    freeze(side.warehouse, folder, run_id=id_of("run"), through_sequence=side.warehouse.last_sequence, sources=("product",))
    return folder


def test_no_word_is_in_the_warehouse_or_a_snapshot(sides: tuple[Side, Side], tmp_path: Path) -> None:
    for side in sides:
        frozen(side, tmp_path / side.warehouse.path.stem)
        side.warehouse.cursor().execute("CHECKPOINT")
    plain, sealed = (side.warehouse.path.read_bytes() for side in sides)
    assert WORDS in plain
    assert WORDS not in sealed
    for name in ("preferences", "prompts", "ratings"):
        rows = str(open_snapshot(tmp_path / "sealed").stored(name).to_pylist())
        assert "job" not in rows
        assert "Question" not in rows


def test_exports_are_the_same(sides: tuple[Side, Side]) -> None:
    def exported(side: Side) -> list[Any]:
        exporter = Exporter(side.warehouse, side.texts)
        return [exporter.export("jsonl", ()), exporter.export("parquet", ()), *(getattr(exporter, n)(()) for n in ("ratings", "comments"))]

    plain, sealed = map(exported, sides)
    assert plain == sealed
    assert all(WORDS in each for each in (plain[0], *plain[2:]))


def test_the_queue_is_the_same(sides: tuple[Side, Side]) -> None:
    def queued(side: Side) -> list[Any]:
        return RatingQueue(side.warehouse, Outstanding(side.warehouse, 1), texts=side.texts).take("r-9", 4)

    plain, sealed = map(queued, sides)
    assert plain == sealed
    assert len(plain) == 4


def test_a_pair_whose_key_is_lost_is_not_asked_and_not_exported(sides: tuple[Side, Side], keys: SQLiteTextKeys) -> None:
    _, sealed = sides
    pairs = {event.pair_id: event for event in sealed.warehouse.events(PairDrawn) if isinstance(event, PairDrawn)}
    keys.destroy([kid_of(pairs[id_of("pair", number)].a.text) for number in (3, 9)])
    texts = Texts(keys)
    asked = RatingQueue(sealed.warehouse, Outstanding(sealed.warehouse, 1), texts=texts).take("r-9", 4)
    assert {each.pair_id for each in asked} == {str(id_of("pair", n)) for n in (8, 10, 11)}
    assert len(Exporter(sealed.warehouse, texts).export("jsonl", ()).splitlines()) == 7


def test_a_run_reads_the_same_from_a_sealed_snapshot(sides: tuple[Side, Side], tmp_path: Path) -> None:
    plain, sealed = (RunData.read(frozen(side, tmp_path / side.warehouse.path.stem), side.texts) for side in sides)
    assert repr(plain.preferences) == repr(sealed.preferences)
    assert len(plain.preferences) == 8
    assert plain.ratings == sealed.ratings
    assert plain.prompts(100) == sealed.prompts(100)
    assert len(plain.prompts(100)) == 6
    evidence = [count_evidence(side.warehouse, through_sequence=8, sources=("product",)) for side in sides]
    assert evidence[0] == evidence[1]
    assert evidence[0].prompts == 6


def test_groups_are_read_the_same_and_are_in_no_row_and_no_snapshot(sides: tuple[Side, Side], keys: SQLiteTextKeys, tmp_path: Path) -> None:
    folders = [frozen(side, tmp_path / f"{number}") for number, side in enumerate(sides)]
    plain, closed = (RunData.read(folder, side.texts).groups for folder, side in zip(folders, sides, strict=True))
    assert plain == closed
    assert {"sex": "female", "age": "40+"} in plain.values()
    day = at(1).date()
    tables = [outcomes_table(side.warehouse, side.texts, day, day) for side in sides]
    assert tables[0] == tables[1]
    assert (tables[0].applications, tables[0].without_groups) == (2, 0)
    groups = [event for event in sides[1].warehouse.events(GroupsRecorded) if isinstance(event, GroupsRecorded)]
    assert "female" not in str(groups)
    assert "female" not in str(open_snapshot(folders[1]).stored("groups").to_pylist())
    keys.destroy({kid_of(token) for token in groups[0].groups.values()})
    sides[1].texts.destroy(())
    assert outcomes_table(sides[1].warehouse, sides[1].texts, day, day).without_groups == 1, "not known any more, and the decision counts"
    with pytest.raises(TextLost):
        outcomes_table(sides[1].warehouse, PLAIN, day, day)


def test_the_python_api_opens_a_snapshot_with_the_keys_of_the_home_that_is_set(
    sides: tuple[Side, Side], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, sealed = (frozen(side, tmp_path / side.warehouse.path.stem) for side in sides)
    monkeypatch.setenv("FEEDBACKLOOP_HOME", str(tmp_path / "another"))
    with pytest.raises(DataRefused, match="no preference of the training stratum"):  # whose rows cannot be opened
        RewardModel.fit(sealed)
    monkeypatch.setenv("FEEDBACKLOOP_HOME", str(tmp_path))
    answers = ["On Tuesday.", "Some day."]
    assert RewardModel.fit(sealed).rerank("When?", answers) == RewardModel.fit(plain).rerank("When?", answers)
    assert repr(rlhf_data(sealed, "training").preferences) == repr(rlhf_data(plain, "training").preferences)


def test_a_prompt_that_was_logged_before_texts_were_sealed_and_again_since_is_taken_once(
    sides: tuple[Side, Side], keys: SQLiteTextKeys, tmp_path: Path
) -> None:
    plain, _ = sides
    again = [reply(n, text=f"Question {n // 2 - 100}?", stratum="evaluation", occurred_at=at(n)) for n in range(300, 304)]
    again = [each.model_copy(update={"event_id": derived_id("again", each.event_id)}) for each in again]
    apply(plain.warehouse, plain.log, *Sealer(keys, b"k").logged(again))
    data = RunData.read(frozen(plain, tmp_path / "mixed"), Texts(keys))
    assert data.snapshot is not None
    assert len(data.snapshot.stored("prompts")) == 8
    assert len(data.prompts(100)) == len(set(data.prompts(100))) == 6


@pytest.mark.training
def test_a_sealed_snapshot_meets_the_expectations_and_can_be_frozen_again(sides: tuple[Side, Side], tmp_path: Path) -> None:
    from storage.snapshots.expectations import check

    _, sealed = sides
    folder = frozen(sealed, tmp_path / "snapshot")
    assert check(open_snapshot(folder, sealed.texts), tmp_path / "docs") == []
    artifacts, done = Artifacts(str(tmp_path / "artifacts")), Verification()
    event = next(each for each in one_of_each() if each.kind == "DatasetFrozen").model_copy(
        update={"run_id": id_of("run"), "snapshot": artifacts.put(folder)}
    )
    check_snapshot(sealed.warehouse, artifacts, event, done)  # type: ignore[arg-type]
    assert done.findings == []


def test_pairs_are_ranked_by_what_their_sealed_features_tell(sides: tuple[Side, Side]) -> None:
    taught = [changed(each, features=preference_in(each).features._replace(embedding_hash=HASH)) for each in drawn(20, 3, seed=2)]  # type: ignore[union-attr]
    head = learn_all(new_head(HeadSettings(), HASH, 3, ("product",)), taught)

    def ranked(side: Side) -> list[str]:
        ranking = Ranking(side.warehouse, Outstanding(side.warehouse, 1), lambda: head, AskingSettings(), side.texts)
        ranking.refresh()
        return ranking.newest()

    plain, sealed = map(ranked, sides)
    assert plain == sealed
    assert len(plain) == 4
