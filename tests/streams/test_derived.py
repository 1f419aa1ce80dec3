"""Verify finds data that was altered both on the log and in the warehouse, and missing or corrupt files; it lists what it cannot check."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson
import pytest

from storage.artifacts import Artifacts
from storage.events import (
    DatasetFrozen,
    Event,
    ModelEvaluated,
    ModelPromoted,
    ReviewDecided,
    RewardUpdated,
    RunClaimed,
    TrainingProgress,
    TrainingRequested,
    derived_id,
    pack,
)
from storage.settings import Settings
from storage.snapshots.snapshot import freeze, open_snapshot
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.sealed import kid_of
from storage.texts.texts import Texts
from storage.warehouse.entries import Applied
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import records_of
from streams.derived import UNCHECKED, Verification, check_derived, check_snapshot
from streams.erasure import erased_names, reconciled_after, trained_on, unrepeatable
from streams.stations.erasure import Erasure
from streams.stations.sink import Sink
from streams.versions import version_name
from tests.storage.facts import erasure, features, judgment, pair, reply, thumb
from tests.streams.examples import evaluated, of_its_run
from tests.streams.memory_bus import MemoryBus
from trainers.data.preference import Entry
from trainers.reward.online.checkpoint import load, save
from trainers.reward.online.learn import learn_all, new_head
from trainers.reward.online.settings import HeadSettings
from trainers.runs.frozen import FrozenSettings
from trainers.runs.texts import Change, Quoting, run_kid, sealing


class Home:
    """A home as written by hub, learner and trainer, on real files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings.read(folder, {}).with_values({"home": folder})
        self.artifacts = Artifacts(self.settings.common.artifacts_url)
        self.warehouse = Warehouse.open(folder / "warehouse.duckdb")
        self.bus = MemoryBus()
        self.sink = Sink(self.bus, self.warehouse, "hub")
        self.sink.start()
        self.publish(*(make(n) for n in range(12) for make in (pair, features, judgment, reply)), judgment(3, "B", minute=1))
        self.publish(thumb(5), judgment(6, "neither", "r-2"))
        self.learn()
        self.policy = self.artifacts.put_bytes(b"weights")
        self.promote()

    def publish(self, *events: Any) -> None:
        self.bus.publish(records_of(events), timeout=1)
        self.sink.step(0)
        self.sink.step(0)

    def learn(self) -> None:
        preferences = self.warehouse.preferences_after(0, 100)
        head = new_head(HeadSettings(), features(0).embedding_hash, 3, ("product",))
        head = learn_all(head, map(Entry.of, preferences[:8]))
        said = [head]
        said.append(head := learn_all(head, map(Entry.of, preferences[8:])))
        self.head_file = self.folder / "learner" / head.head_id / "head.safetensors"
        save(head, self.head_file)
        for one in said:
            self.publish(
                RewardUpdated(
                    event_id=derived_id("RewardUpdated", one.head_id, one.sequence),
                    source="product",
                    head_id=one.head_id,
                    sequence=one.sequence,
                    judgments_before=0,
                    judgments_seen=one.judgments_seen,
                    mean=pack(one.overall.mean),
                    prequential_accuracy=None,
                    prequential_log_loss=None,
                    prequential_n=0,
                    checkpoint="0" * 64,
                )
            )

    def promote(self) -> None:
        event = evaluated("one", policy=self.policy, version=version_name(self.policy))
        settings = FrozenSettings(method="dpo", sections={}, required=tuple(gate.name for gate in event.gates))
        requested, frozen, claimed, event = of_its_run(event, self.artifacts, settings=settings)
        freeze(self.warehouse, self.folder / "s", run_id=event.run_id, through_sequence=10, sources=("product",))
        frozen = frozen.model_copy(update={"snapshot": self.artifacts.put(self.folder / "s")})
        review = ReviewDecided(source="product", version=event.version, decision="approve", reviewer="Rosa", reason="good")
        promoted = ModelPromoted(
            event_id=derived_id("ModelPromoted", review.event_id), source="product", version=event.version, review=review.event_id
        )
        for kind in (TrainingRequested, DatasetFrozen, RunClaimed, ModelEvaluated):
            self.publish(next(one for one in (requested, frozen, claimed, event) if isinstance(one, kind)))
        (self.folder / "docs").mkdir()
        (self.folder / "docs" / "index.html").write_text("What the data was checked for")
        self.data_docs = self.artifacts.put(self.folder / "docs")
        word = {"run_id": event.run_id, "attempt": 1, "stage": "check", "step": 1, "steps": 1, "artifacts": {"data_docs": self.data_docs}}
        self.publish(TrainingProgress.model_validate({"source": "product"} | word))
        self.publish(review, promoted)
        self.requested, self.frozen, self.evaluated = requested, frozen, event
        (self.folder / "serving").mkdir()
        (self.folder / "serving" / "champion.json").write_bytes(orjson.dumps((event.version, self.policy)))

    def findings(self) -> list[tuple[str, str]]:
        return [
            (finding.what, f"{finding.where}: {finding.words}")
            for finding in check_derived(self.warehouse, self.artifacts, self.settings, Texts.of(self.settings)).findings
        ]

    def tamper(self, statement: str) -> list[tuple[str, str]]:
        self.warehouse.cursor().execute(statement)
        return self.findings()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    built = Home(tmp_path)
    yield built
    built.warehouse.close()


def test_an_unaltered_home_has_no_findings_and_what_is_not_covered_is_listed(home: Home) -> None:
    assert home.findings() == []
    done = check_derived(home.warehouse, home.artifacts, home.settings, Texts.of(home.settings))
    assert any("nobody has signed" in words for words in done.not_covered)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE judgment_given SET choice = 'B' WHERE choice = 'A'", "derived from: the choice"),
        ("UPDATE judgment_given SET strength = 4", "derived from: the strength"),
        ("UPDATE judgment_given SET reason = 'because'", "derived from: the reason"),
        ("UPDATE judgment_given SET recruiter = 'r-9'", "derived from: the recruiter"),
        ("UPDATE judgment_given SET source = 'import'", "derived from: the source"),
        ("DELETE FROM judgment_given", "its judgment, which is not there"),
        ("UPDATE pair_drawn SET stratum = CASE stratum WHEN 'training' THEN 'evaluation' ELSE 'training' END", "derived from: the stratum"),
        (f"UPDATE pair_embedded SET a = '{pack(np.array([1.0, 2.0, 3.0]))}'", "derived from: the features"),
        ("UPDATE preference_removed SET removes = 1", "nothing justifies removing number 1"),
        ("DELETE FROM judgment_given WHERE choice = 'B'", "nothing justifies removing"),
    ],
)
def test_preferences_are_recomputed_from_their_sources(home: Home, statement: str, words: str) -> None:
    assert any(what == "derived" and words in said for what, said in home.tamper(statement)), home.findings()


def test_a_reward_update_that_does_not_follow_from_the_preferences_is_found(home: Home) -> None:
    found = home.tamper(f"UPDATE reward_updated SET mean = '{pack(np.array([0.5, 0.5, 0.5, 0.5]))}' WHERE sequence = 8")
    assert [said for _, said in found] == ["reward update 8: its weights do not follow from the preferences"]
    found = home.tamper("UPDATE reward_updated SET judgments_seen = 999")
    assert all("counts 999 judged pairs" in said for _, said in found)
    assert len(found) == 2


def test_a_changed_or_truncated_checkpoint_of_the_learner_is_found(home: Home) -> None:
    head = load(home.head_file)
    head.overall.mean[:] += 1
    save(head, home.head_file)
    ((what, said),) = home.findings()
    assert (what, "its weights do not follow from the preferences" in said) == ("state", True)
    home.head_file.write_bytes(home.head_file.read_bytes()[:-100])
    ((what, said),) = home.findings()
    assert (what, "no reward head to be read" in said) == ("state", True)


@pytest.mark.parametrize("which", ["policy", "report", "snapshot", "settings", "data_docs"])
@pytest.mark.parametrize("how", ["altered", "gone"])
def test_an_artifact_that_is_altered_or_gone_is_found(home: Home, which: str, how: str) -> None:
    named = {
        "policy": home.policy,
        "report": home.evaluated.report,
        "snapshot": home.frozen.snapshot,
        "settings": home.requested.settings or "",
        "data_docs": home.data_docs,
    }
    place = home.artifacts.get(named[which])
    place = next(path for path in sorted(place.iterdir()) if path.suffix in (".parquet", ".html")) if place.is_dir() else place
    if how == "altered":
        place.write_bytes(place.read_bytes() + b" ")
    else:
        place.unlink()
    found = home.findings()
    assert ("artifact", which) in {(what, said.split()[0]) for what, said in found}


def test_an_artifact_folder_that_is_gone_is_found_for_everything_in_it(home: Home) -> None:
    Path(home.settings.common.artifacts_url).rename(home.folder / "elsewhere")
    Path(home.settings.common.artifacts_url).mkdir()
    assert {said.split()[0] for what, said in home.findings() if what == "artifact"} == {"snapshot", "report", "settings", "data_docs"}
    assert any(what == "state" for what, _ in home.findings()), "and the remembered champion cannot be verified either"


def test_a_snapshot_of_other_rows_is_found_although_its_hash_is_right(home: Home) -> None:
    other = home.warehouse.query("preferences_frozen", {"through_sequence": 10, "sources": ["product"]})
    assert other.num_rows
    found = home.tamper("UPDATE reply_sent SET reply = 'Another reply.'")
    assert any(what == "derived" and "freezing again gives different prompts" in said for what, said in found)


def test_a_changed_thumb_is_found_in_the_ratings_of_a_snapshot(home: Home) -> None:
    found = home.tamper("UPDATE response_rated SET thumb = 'down'")
    assert any(what == "derived" and "freezing again gives different ratings" in said for what, said in found)


def test_a_snapshot_of_recipe_2_is_compared_without_ratings(home: Home) -> None:
    old = home.folder / "old"
    shutil.copytree(home.artifacts.get(home.frozen.snapshot), old, ignore=shutil.ignore_patterns("folder.json"))
    manifest = orjson.loads((old / "manifest.json").read_bytes())
    del manifest["ratings_cut"], manifest["files"]["ratings.parquet"]
    (old / "manifest.json").write_bytes(orjson.dumps(manifest | {"recipe": 2}))
    (old / "ratings.parquet").unlink()
    event = home.frozen.model_copy(update={"snapshot": home.artifacts.put(old)})
    done = Verification()
    check_snapshot(home.warehouse, home.artifacts, event, done)
    assert (done.findings, done.not_covered) == ([], list(UNCHECKED))
    home.warehouse.cursor().execute("UPDATE reply_sent SET reply = 'Another reply.'")
    check_snapshot(home.warehouse, home.artifacts, event, done)
    assert [finding.words for finding in done.findings] == ["freezing again gives different prompts"]


def test_a_remembered_champion_that_never_was_one_is_found(home: Home) -> None:
    memory = home.folder / "serving" / "champion.json"
    for content in (orjson.dumps(("v-000000000000", "a" * 64)), orjson.dumps((home.evaluated.version, "a" * 64)), b"{", b"[1]"):
        memory.write_bytes(content)
        assert [what for what, _ in home.findings()] == ["state"]
    memory.write_bytes(orjson.dumps(("base", None)))
    assert home.findings() == []


def test_what_erased_people_leave_is_not_covered_and_nothing_else_is_found(home: Home) -> None:
    before = not_covered(home)
    home.publish(erasure("candidate", "c-4"), erasure("recruiter", "r-2"))
    assert home.findings() == []
    said = sorted(set(not_covered(home)) - set(before))
    assert len(said) == 3
    assert said[0].startswith("2 reward updates between judgments of erased people")
    assert said[1].startswith("snapshot of run ")
    assert said[1].endswith("rows of people who are erased since")
    assert said[2].startswith("the learner's checkpoint: it learnt from people who are erased since")
    (found,) = trained_on(home.warehouse, home.artifacts, erased_names(home.warehouse))
    assert (found.run_id, found.version) == (str(home.evaluated.run_id), home.evaluated.version)
    assert ("derived", "preference 5") in [(what, words.split(":")[0]) for what, words in home.tamper("DELETE FROM erased")]


def test_the_texts_of_a_run_go_with_those_whom_they_may_quote(home: Home) -> None:
    keys = SQLiteTextKeys(home.folder / FILE)
    stop, run_id = threading.Event(), str(home.evaluated.run_id)
    sealings: dict[Quoting, Change] = {what: sealing(run_id, what, Texts(keys)) for what in get_args(Quoting)}
    said = {what: sealed(f"I breed the {what}.") for what, sealed in sealings.items()}
    other = sealing("another run", "report", Texts(keys))("I breed the plover.")
    station = Erasure(home.warehouse, home.artifacts, Texts(keys), stop)

    def readable_after(*erasures: Event) -> set[Quoting]:
        home.publish(*erasures)
        station.wake_for(Applied((), 0, (), (), dropped=1))
        station.step(0)
        return {what for what, text in said.items() if Texts(keys).lost([kid_of(text)]) == set()}

    prompts = {row["conversation_id"] for row in open_snapshot(home.artifacts.get(home.frozen.snapshot)).stored("prompts").to_pylist()}
    trained, evaluation = (next(n for n in range(1, 12) if (f"conversation-{n}" in prompts) is quoted) for quoted in (False, True))
    assert readable_after() == {"report", "replies"}
    assert readable_after(erasure("candidate", f"c-{trained}")) == {"report"}
    assert readable_after(erasure("candidate", f"c-{evaluation}")) == set()
    assert Texts(keys).opened(other) == "I breed the plover."
    sealings["report"]("as a run that was going on does")
    station.wake_for(Applied((home.evaluated,), 0, (), ()))
    station.step(0)
    assert keys.get(run_kid(run_id, "report")) is None


def test_a_snapshot_changed_after_an_erasure_is_still_found(home: Home) -> None:
    home.publish(erasure("candidate", "c-4"))
    assert any("gives different prompts" in words for _, words in home.tamper("UPDATE reply_sent SET version = 'other'"))


def test_a_head_cannot_be_repeated_from_an_erased_preference_to_the_reconciliation_after_its_removal() -> None:
    settings = HeadSettings(reconcile_every=40, reconcile_steadily=4_000)
    rows: list[dict[str, Any]] = [
        {"sequence": 5, "removed_by": 33},
        {"sequence": 30, "removed_by": 91},
        {"sequence": 200, "removed_by": None},
    ]
    assert [reconciled_after(number, settings) for number in (1, 33, 50, 51, 91)] == [50, 50, 50, 90, 130]
    assert unrepeatable(rows, settings) == [range(5, 130), range(200, 2**62)]


def not_covered(home: Home) -> list[str]:
    return check_derived(home.warehouse, home.artifacts, home.settings, Texts.of(home.settings)).not_covered
