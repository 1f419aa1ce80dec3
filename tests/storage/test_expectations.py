"""Each expectation fails by name on a snapshot that breaks it; a good snapshot meets them all."""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from storage.events import pack
from storage.snapshots.snapshot import RATING_COLUMNS, Snapshot, freeze, open_snapshot
from storage.strata import stratum_of
from storage.warehouse.warehouse import Warehouse
from tests.storage.facts import Log, apply, features, id_of, judgment, pair, reply, thumb

pytestmark = pytest.mark.training

Table = list[dict[str, Any]]
NAME = "Rosa Marchetti"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("quality")
    with Warehouse.open(folder / "w.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        facts = [make(n) for n in range(30) for make in (pair, features, judgment)]
        others = (judgment(7, "tie", "r-2", strength=4), judgment(8, "neither", "r-2"), thumb(40))
        apply(warehouse, Log(), *facts, *others[:2], *(reply(n) for n in range(40, 90)), others[2])
        freeze(warehouse, folder / "s", run_id=id_of("run"), through_sequence=31, sources=("product",))
    return open_snapshot(folder / "s")


@dataclasses.dataclass(frozen=True)
class Changed:
    """Tables of a snapshot with some values changed; all that ``check`` needs."""

    preferences: pa.Table
    prompts: pa.Table
    ratings: pa.Table


def changed(snapshot: Snapshot, change: Callable[[Table, Table], None]) -> Any:
    preferences, prompts = snapshot.preferences.to_pylist(), snapshot.prompts.to_pylist()
    change(preferences, prompts)
    return Changed(
        pa.Table.from_pylist(preferences, snapshot.preferences.schema),
        pa.Table.from_pylist(prompts, snapshot.prompts.schema),
        snapshot.ratings,
    )


def failures(snapshot: Snapshot, change: Callable[[Table, Table], None], **arguments: Any) -> dict[str, str]:
    return checked(changed(snapshot, change), **arguments)


def checked(snapshot: Snapshot, **arguments: Any) -> dict[str, str]:
    from storage.snapshots.expectations import check

    with tempfile.TemporaryDirectory() as folder:
        found = dict(check(snapshot, Path(folder), **arguments))
        first, *others = (path.read_text() for path in sorted(Path(folder).rglob("*.html")))
        assert all(name in "".join((first, *others)) for name in found)
        assert all("default-src 'none'" in page for page in (first, *others)), "every page has the content security policy"
        return found


def test_a_good_snapshot_meets_every_expectation(snapshot: Snapshot) -> None:
    assert checked(snapshot, minimum_rows=15) == {}
    unrated: Any = Changed(snapshot.preferences, snapshot.prompts, RATING_COLUMNS.empty_table())
    assert checked(unrated) == {}


def test_too_few_rows_are_reported_with_the_count(snapshot: Snapshot) -> None:
    found = failures(snapshot, lambda preferences, prompts: None, minimum_rows=500)
    assert list(found) == ["training.enough_rows"]
    training = sum(stratum_of(f"conversation-{n}") == "training" for n in [*range(30), 7])
    assert found["training.enough_rows"] == f"there are fewer than 500 preferences to train on: found {training}"


def test_an_empty_snapshot_fails_only_on_the_row_count(snapshot: Snapshot) -> None:
    def empty(preferences: Table, prompts: Table) -> None:
        preferences.clear()
        prompts.clear()

    assert list(failures(snapshot, empty)) == ["training.enough_rows"]


def broken_values(preferences: Table, prompts: Table) -> None:
    preferences[3].update(recruiter=None)
    preferences[4].update(choice="neither")
    preferences[5].update(strength=5)
    preferences[7].update(a=" \n ")
    preferences[8].update(prompt="[]")
    preferences[11].update(prompt='[{"role":"user","content":"hello"},{"role":"user","content":" \\n"}]')
    preferences[12].update(features_a="no vector")
    preferences[9].update(features_b=pack(np.ones(4)))
    preferences[10].update(features_a=pack(np.array([1.0, np.nan, 2.0])))
    prompts[2].update(reply=None)
    prompts[3].update(stratum="training")


def broken_relations(preferences: Table, prompts: Table) -> None:
    preferences[3].update(event_id=preferences[4]["event_id"])
    preferences[5].update(sequence=preferences[6]["sequence"])
    preferences[20].update(sequence=3)
    preferences[7].update(a=preferences[7]["b"])
    preferences[8].update(features_a=pack(np.ones(4)), features_b=pack(np.ones(4)))
    preferences[9].update(embedding_hash="f" * 64)
    prompts[2].update(reply_id=prompts[1]["reply_id"])
    prompts[4].update(prompt=prompts[3]["prompt"])
    prompts[6].update(reply=" ")


def test_values_that_break_an_expectation_are_described(snapshot: Snapshot) -> None:
    assert failures(snapshot, broken_values) == {
        "preferences.recruiter.present": "recruiter is missing: 1 of 31 rows",
        "preferences.choice.known": "a choice is not A, B or tie: 1 of 31 rows",
        "preferences.strength.between_1_and_4": "a strength is outside 1 to 4: 1 of 31 rows",
        "preferences.a.not_empty": "a is blank: 1 of 31 rows",
        "preferences.prompt.conversation": "a prompt is not a conversation: 1 of 31 rows",
        "preferences.prompt.ends_with_words": "the last message of a prompt is blank: 1 of 31 rows",
        "features.readable": "a feature vector cannot be read: 1 of 62 rows",
        "features.one_length": "feature vectors differ in length: found 2",
        "features.finite": "a component of a feature vector is not finite: 1 of 62 rows",
        "prompts.reply.present": f"reply is missing: 1 of {snapshot.prompts.num_rows} rows",
        "prompts.stratum.evaluation": f"a prompt is not in the evaluation stratum: 1 of {snapshot.prompts.num_rows} rows",
    }


def test_rows_in_both_strata_are_excluded_from_training_and_do_not_fail_the_run(snapshot: Snapshot) -> None:
    training = [row for row in snapshot.preferences.to_pylist() if row["stratum"] == "training"]

    def overlapping(preferences: Table, prompts: Table) -> None:
        prompts[0].update(prompt=training[0]["prompt"])  # two candidates began with the same words
        prompts[1].update(conversation_id=training[1]["conversation_id"])  # a conversation that changed sides
        for row in prompts[2:9]:
            row.update(conversation_id=training[2]["conversation_id"])

    assert failures(snapshot, overlapping, minimum_rows=len(training) - 3) == {}
    found = failures(snapshot, overlapping, minimum_rows=len(training) - 2)
    assert found == {"training.enough_rows": f"there are fewer than {len(training) - 2} preferences to train on: found {len(training) - 3}"}


def test_rows_that_contradict_each_other_are_described(snapshot: Snapshot) -> None:
    assert failures(snapshot, broken_relations) == {
        "preferences.event_id.unique": "a judgment counts more than once: 2 of 31 rows",
        "preferences.sequence.increasing": "the preferences are not ordered by sequence number: 1 of 31 rows",
        "preferences.sequence.unique": "a sequence number occurs twice: 4 of 31 rows",
        "preferences.responses.differ": "both responses of a pair are the same text: 1 of 31 rows",
        "features.one_length": "feature vectors differ in length: found 2",
        "preferences.features.one_embedding": "features from several embedding models are mixed: found 2",
        "prompts.reply_id.unique": f"a reply occurs twice: 2 of {snapshot.prompts.num_rows} rows",
        "prompts.prompt.unique": f"a prompt occurs twice: 2 of {snapshot.prompts.num_rows} rows",
        "prompts.reply.not_empty": f"a reply is blank: 1 of {snapshot.prompts.num_rows} rows",
    }


def test_ratings_that_break_an_expectation_are_described(snapshot: Snapshot) -> None:
    rows = snapshot.ratings.to_pylist()
    assert len(rows) == 3
    rows[0].update(recruiter=None, reply=" ")
    rows[1].update(rows[2])
    rows[2].update(stratum="both")
    broken: Any = Changed(snapshot.preferences, snapshot.prompts, pa.Table.from_pylist(rows, snapshot.ratings.schema))
    assert checked(broken) == {
        "ratings.recruiter.present": "recruiter is missing: 1 of 3 rows",
        "ratings.event_id.unique": "a rating counts more than once: 2 of 3 rows",
        "ratings.reply.not_empty": "a reply is blank: 1 of 3 rows",
        "ratings.stratum.known": "a stratum is neither training nor evaluation: 1 of 3 rows",
    }


def test_neither_failures_nor_pages_quote_what_people_wrote(snapshot: Snapshot, tmp_path: Path) -> None:
    from storage.snapshots.expectations import check

    def broken(preferences: Table, prompts: Table) -> None:
        preferences[3].update(prompt=f"not JSON: {NAME}")
        preferences[4].update(prompt=f'["{NAME}"]')
        preferences[5].update(prompt=f'[{{"role":"user","content":"{NAME}"}},{{"role":"user","content":" "}}]')
        preferences[6].update(choice=NAME)
        preferences[7].update(a=NAME, b=NAME)
        preferences[8].update(features_a=NAME)
        prompts[1].update(prompt=NAME)
        prompts[2].update(prompt=NAME, reply=None)

    found = check(changed(snapshot, broken), tmp_path)
    assert len(found) == 7
    assert found[0] == ("preferences.prompt.conversation", "a prompt is not a conversation: the values could not be checked")
    assert NAME not in str(found)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and NAME.encode() in path.read_bytes()] == []


def test_nothing_is_logged_and_nothing_stays_in_the_temporary_folder(snapshot: Snapshot, tmp_path: Path) -> None:
    program = (
        "import logging, sys; logging.basicConfig(level=logging.INFO, stream=sys.stdout)\n"
        "from pathlib import Path; from storage.snapshots.snapshot import open_snapshot; from storage.snapshots.expectations import check\n"
        f"assert check(open_snapshot(Path({str(snapshot.folder)!r})), Path({str(tmp_path / 'docs')!r})) == []"
    )
    (tmp_path / "tmp").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | {"TMPDIR": str(tmp_path / "tmp")}, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
