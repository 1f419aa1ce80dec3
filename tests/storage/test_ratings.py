"""A snapshot holds what recruiters said of single replies: each one's last thumb or score, and both replies of a pair judged "neither"."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dashboard.actions.exports import Exporter
from storage.errors import WarehouseError
from storage.events import ResponseRated
from storage.snapshots.snapshot import Manifest, current_ratings, freeze, open_snapshot
from storage.strata import stratum_of
from storage.warehouse.entries import Partition
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import Log, apply, features, id_of, judgment, pair, reply, thumb
from trainers.runs.data import RunData

TRAINING = [n for n in range(40) if stratum_of(f"conversation-{n}") == "training"]
EVALUATION = [n for n in range(40) if stratum_of(f"conversation-{n}") == "evaluation"]


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[tuple[Warehouse, Log]]:
    log = Log()
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, log, *(make(n) for n in range(10) for make in (pair, features)), *(reply(n) for n in range(20, 40)))
        yield warehouse, log


def frozen(warehouse: Warehouse, folder: Path, **values: Any) -> Manifest:
    arguments: dict[str, Any] = {"run_id": id_of("run"), "through_sequence": warehouse.last_sequence, "sources": ("product",)}
    return freeze(warehouse, folder, **(arguments | values))


def rated(folder: Path) -> list[tuple[str, str | None, bool, str]]:
    """Reply, side, whether it is good, and recruiter."""
    rows = open_snapshot(folder).ratings.to_pylist()
    return [(row["reply"], row["side"], row["good"], row["recruiter"]) for row in rows]


def both(number: int, recruiter: str = "r-1") -> list[tuple[str, str | None, bool, str]]:
    drawn = pair(number)
    return [(drawn.a.text, "A", False, recruiter), (drawn.b.text, "B", False, recruiter)]


def test_each_recruiters_last_thumb_on_a_reply_counts_with_its_text(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(
        warehouse, log, thumb(20, "down", minute=9), thumb(20, "up", minute=1), thumb(20, "down", "r-2", 2), thumb(21, "down", minute=0.5)
    )
    frozen(warehouse, tmp_path / "s")
    text = reply(20).reply
    assert rated(tmp_path / "s") == [(text, None, True, "r-1"), (reply(21).reply, None, False, "r-1"), (text, None, False, "r-2")]
    row = open_snapshot(tmp_path / "s").ratings.to_pylist()[0]
    assert (row["conversation_id"], row["stratum"], row["source"]) == ("conversation-20", reply(20).stratum, "product")
    assert json.loads(row["prompt"]) == [message.model_dump() for message in reply(20).prompt]


def test_a_thumb_without_a_replys_id_is_on_the_last_reply_at_that_time(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    for n, minute in ((1, 5.0), (2, 10.0)):
        again = reply(20).model_copy(
            update={"event_id": id_of("again", n), "reply": f"Answer {n}.", "occurred_at": reply(20 + minute).occurred_at}  # type: ignore[arg-type]
        )
        apply(warehouse, log, again)
    apply(warehouse, log, thumb(20, minute=7, reply_id=None), thumb(20, "down", "r-2", 11, reply_id=None))
    apply(warehouse, log, thumb(20, minute=-1, recruiter="r-3", reply_id=None), thumb(20, recruiter="r-4", reply_id=id_of("unknown")))
    frozen(warehouse, tmp_path / "s")
    assert rated(tmp_path / "s") == [("Answer 1.", None, True, "r-1"), ("Answer 2.", None, False, "r-2")]


def test_neither_is_two_thumbs_down_while_it_is_the_recruiters_last_word(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(warehouse, log, *(judgment(n, "neither") for n in range(5)))
    apply(warehouse, log, judgment(1, "A", minute=5), judgment(2, "skip", minute=5), judgment(3, "A", "r-2"), judgment(6, "A"))
    apply(warehouse, log, judgment(6, "neither", minute=5), judgment(50, "neither"))  # 50 has no pair
    frozen(warehouse, tmp_path / "s")
    assert rated(tmp_path / "s") == [*both(0), *both(3), *both(4), *both(6)]
    assert open_snapshot(tmp_path / "s").preferences.num_rows == 2  # of pairs 1 and 3


def test_a_preference_that_the_snapshot_holds_is_not_a_neither_as_well(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(warehouse, log, judgment(1, "A"), judgment(1, "neither", minute=5))
    frozen(warehouse, tmp_path / "before", through_sequence=1)
    frozen(warehouse, tmp_path / "after")
    assert (open_snapshot(tmp_path / "before").preferences.num_rows, rated(tmp_path / "before")) == (1, [])
    assert (open_snapshot(tmp_path / "after").preferences.num_rows, rated(tmp_path / "after")) == (0, both(1))


def test_only_the_named_sources_enter(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(warehouse, log, thumb(20), thumb(21, source="simulation"), judgment(1, "neither", source="simulation"))
    frozen(warehouse, tmp_path / "product")
    frozen(warehouse, tmp_path / "both", sources=("simulation", "product"))
    assert rated(tmp_path / "product") == [(reply(20).reply, None, True, "r-1")]
    assert len(rated(tmp_path / "both")) == 4
    assert current_ratings(warehouse, ("product", "simulation")).to_pylist() == open_snapshot(tmp_path / "both").ratings.to_pylist()


def test_freezing_again_gives_the_same_bytes_though_more_has_come(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(warehouse, log, thumb(20), thumb(90), judgment(1, "neither"), judgment(2, "neither"), judgment(80, "neither"))
    manifest = frozen(warehouse, tmp_path / "first")
    assert manifest.ratings_cut == {"feedback.ratings": {0: 1}, "feedback.judgments": {0: 2}, "feedback.pairs": {0: 9}}
    apply(warehouse, log, thumb(20, "down", minute=3), thumb(22), judgment(1, "skip", minute=3), judgment(3, "neither"))
    apply(warehouse, log, pair(80), reply(90))  # those that a rating waited for
    cuts = {"cut": manifest.replies_cut, "groups_cut": manifest.groups_cut, "ratings_cut": manifest.ratings_cut}
    frozen(warehouse, tmp_path / "second", through_sequence=0, **cuts)
    contents = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("first", "second")]
    assert contents[0] == contents[1]
    assert len(rated(tmp_path / "first")) == 5
    with pytest.raises(WarehouseError, match=r"has not read feedback\.judgments partition 0 up to 99"):
        frozen(warehouse, tmp_path / "third", ratings_cut={"feedback.judgments": {0: 99}})


def test_a_snapshot_of_recipe_2_opens_without_ratings(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    apply(*loop, thumb(20))
    frozen(loop[0], tmp_path / "s")
    columns = open_snapshot(tmp_path / "s").ratings.schema
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    del manifest["ratings_cut"], manifest["files"]["ratings.parquet"]
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest | {"recipe": 2}))
    (tmp_path / "s" / "ratings.parquet").unlink()
    old = open_snapshot(tmp_path / "s").ratings
    assert (old.num_rows, old.schema.names, old.schema.types) == (0, columns.names, columns.types)
    assert RunData.read(tmp_path / "s").ratings == ()


def test_ratings_of_what_the_evaluation_stratum_has_are_not_trained_on(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    kept, same_words, changed = [n for n in TRAINING if n >= 20][:3]
    apply(warehouse, log, reply(200, prompt=reply(same_words).prompt, stratum="evaluation"))
    apply(warehouse, log, reply(201, conversation_id=f"conversation-{changed}", stratum="evaluation"))
    apply(warehouse, log, *(thumb(n) for n in (kept, same_words, changed, next(n for n in EVALUATION if n >= 20))))
    frozen(warehouse, tmp_path / "s")
    assert open_snapshot(tmp_path / "s").ratings.num_rows == 4
    found = RunData.read(tmp_path / "s").ratings
    assert [(each.conversation_id, each.stratum) for each in found if each.stratum == "training"] == [(f"conversation-{kept}", "training")]
    assert [each.good for each in found] == [True, True]


def score(number: int, value: float, recruiter: str = "r-1", minute: float = 0, **values: Any) -> ResponseRated:
    scored = {"event_id": id_of("scored", number, value, recruiter, minute), "thumb": None, "score": value, "lowest": 1, "highest": 5}
    return thumb(number, "up", recruiter, minute).model_copy(update=scored | values)


def test_a_score_counts_by_the_middle_of_its_scale(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    apply(
        warehouse, log, score(20, 4), score(21, 2), score(22, 3), score(23, 0, lowest=-1, highest=1), score(24, 0.1, lowest=-1, highest=1)
    )
    apply(warehouse, log, score(25, 5), score(26, 3.5, lowest=0, highest=10))
    frozen(warehouse, tmp_path / "s")
    found = {text: good for text, _, good, _ in rated(tmp_path / "s")}
    assert found == {reply(20).reply: True, reply(21).reply: False, reply(24).reply: True, reply(25).reply: True, reply(26).reply: False}


def test_the_last_thumb_or_score_of_a_recruiter_holds_and_a_withdrawal_leaves_none(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    nothing = {"thumb": None, "score": None, "lowest": None, "highest": None}
    apply(warehouse, log, thumb(20, "up"), score(20, 2, minute=1), score(21, 5), score(21, 3, minute=1), thumb(22, "up"))
    withdrawn = thumb(22, minute=1).model_copy(update=nothing | {"event_id": id_of("withdrawn", 22)})
    comment = thumb(20, minute=2).model_copy(update=nothing | {"event_id": id_of("comment", 20), "comment": "curt"})
    apply(warehouse, log, withdrawn, thumb(22, "down", "r-2"), comment)
    # withdrawn before it was given, and before the reply is there
    apply(warehouse, log, thumb(90).model_copy(update=nothing | {"event_id": id_of("early")}), thumb(90, "down", minute=1), reply(90))
    frozen(warehouse, tmp_path / "s")
    assert rated(tmp_path / "s") == [
        (reply(20).reply, None, False, "r-1"), (reply(22).reply, None, False, "r-2"), (reply(90).reply, None, False, "r-1"),
    ]  # fmt: skip


def test_a_rating_by_the_replys_id_alone_is_of_that_reply_whichever_partition_holds_it(loop: tuple[Warehouse, Log], tmp_path: Path) -> None:
    warehouse, log = loop
    alone = thumb(20, "down", minute=5, conversation_id=None)
    assert (alone.subject, thumb(20).subject) == (str(id_of("reply", 20)), "conversation-20")
    apply(warehouse, log, thumb(91, "up", conversation_id=None), reply(91), thumb(20, "up", minute=1))
    warehouse.apply(
        [(Partition("feedback.ratings", 1), 0, alone), (Partition("feedback.ratings", 1), 1, thumb(21, conversation_id="other"))]
    )
    frozen(warehouse, tmp_path / "s")
    assert rated(tmp_path / "s") == [(reply(20).reply, None, False, "r-1"), (reply(91).reply, None, True, "r-1")]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"conversation_id": None, "reply_id": None}, "reply_id is missing"),
        ({"comment": "curt"}, "give one of thumb, score and comment"),
        ({"thumb": None, "score": 1}, "belong together"),
        ({"thumb": None, "score": 1, "lowest": 1}, "belong together"),
        ({"lowest": 1, "highest": 5}, "belong together"),
        ({"thumb": None, "score": 6, "lowest": 1, "highest": 5}, "not on its scale"),
        ({"thumb": None, "score": 1, "lowest": 1, "highest": 1}, "only one value"),
    ],
)
def test_a_rating_that_contradicts_itself_is_no_event(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        thumb(1, **values)


def test_comments_are_exported_with_their_replies_until_they_are_withdrawn(loop: tuple[Warehouse, Log]) -> None:
    warehouse, log = loop

    def comment(number: int, words: str | None, recruiter: str = "r-1", **values: Any) -> ResponseRated:
        said = {"event_id": id_of("comment", number, words, recruiter), "thumb": None, "comment": words}
        return thumb(number, recruiter=recruiter, minute=1).model_copy(update=said | values)

    apply(warehouse, log, comment(20, "curt"), comment(20, None), comment(20, "still curt", reply_id=None), comment(20, "warm", "r-2"))
    apply(
        warehouse, log, comment(21, "taken back", reply_id=None), comment(21, None), thumb(22), comment(95, "early", conversation_id=None)
    )
    exporter = Exporter(warehouse)
    rows = [json.loads(line) for line in exporter.comments(()).splitlines()]
    assert [(row["comment"], row["recruiter"], row["reply"]) for row in rows] == [
        ("still curt", "r-1", reply(20).reply), ("warm", "r-2", reply(20).reply), ("early", "r-1", None),
    ]  # fmt: skip
    assert rows[0]["prompt"] == [message.model_dump() for message in reply(20).prompt]
    assert exporter.comments(("simulation",)) == b""
