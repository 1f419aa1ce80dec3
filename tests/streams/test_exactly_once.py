"""With kills at any point and repeats of any entry, the outcome equals that of one clean pass over the log."""

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.artifacts import Artifacts
from storage.attestation.settings import AttestationSettings
from storage.errors import WarehouseError
from storage.events import (
    DatasetFrozen,
    Event,
    JudgmentGiven,
    ModelEvaluated,
    ModelPromoted,
    PreferenceJoined,
    PreferenceRemoved,
    ReviewDecided,
    RewardUpdated,
    RunClaimed,
    Watermark,
    advance,
    now,
)
from storage.events.wire import decode
from storage.snapshots.snapshot import freeze
from storage.warehouse.contents import contents
from storage.warehouse.warehouse import Warehouse
from streams import runs, versions
from streams.attestation.attestor import Attestor
from streams.bus.protocol import Bus, Logged, Partition, Record, records_of
from streams.bus.topics import JUDGMENTS, PREFERENCES, PROGRESS, REQUESTED, REWARD, TOPICS
from streams.evaluations import RunArtifacts, lives_of
from streams.replay import replay
from streams.stations.coordinator import Coordinator
from streams.stations.learner import Learner
from streams.stations.runner import HandlerStation
from streams.stations.settings import RetrainingRule
from streams.stations.sink import Sink
from streams.stations.train import Trainer
from streams.stations.trigger import on_reward_updated
from tests.profiles import examples
from tests.storage.facts import features, judgment, pair
from tests.storage.facts import joined as holding
from tests.streams.bus_contract import everything
from tests.streams.examples import PLAN, accept_all, claimed, evaluated, joined, of_its_run, updated
from tests.streams.memory_bus import MemoryBus
from tests.streams.mortal import Killed, KillSwitch, MortalBus, MortalWarehouse
from tests.streams.test_learner import Clock, learner, mean_after
from tests.streams.test_learner import updates as said_by
from tests.streams.test_runs import claim, frozen, request, run_id
from tests.streams.test_trainer import work_done

pytestmark = pytest.mark.processes

KILLS = st.lists(st.integers(0, 12) | st.integers(0, 60), max_size=4)  # moments after which each life is killed; a last one is not
UNREADABLE = Record(JUDGMENTS.name, b"", b"{")
OF_THE_NUMBERING = ("hub_claimed", "preference_joined", "preference_removed", "event_quarantined")


def lives(kills: Sequence[int], live: Callable[[KillSwitch], None]) -> None:
    """Run one life after the other; the last one is not killed."""
    for moments in [*kills, None]:
        try:
            live(KillSwitch(moments))
        except Killed:
            continue


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Facts about a few pairs in any order, some repeated, and sometimes an unreadable entry."""
    facts: list[Event] = [make(number) for number in range(3) for make in (pair, features)]
    for number, choice, recruiter, minute in draw(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["A", "B", "skip"]), st.integers(1, 2), st.integers(0, 3)), max_size=8)
    ):
        facts.append(judgment(number, choice, f"r-{recruiter}", minute))
    records = records_of(draw(st.permutations(facts)))
    repeated = [*records, *draw(st.lists(st.sampled_from([*records, UNREADABLE]), max_size=5))]
    return list(draw(st.permutations(repeated)))


def hub_live(log: Bus, path: Path, switch: KillSwitch, records: Sequence[Record] = ()) -> dict[str, Any]:
    """A hub's life: it starts, records arrive while it runs, and it runs until it has caught up."""
    with closing(MortalWarehouse.opened(path, switch)) as warehouse:
        sink = Sink(MortalBus(log, switch), warehouse, "hub")
        sink.start()
        for record in records:
            log.publish([record], timeout=1)
        while log.read(sink._after, limit=1, wait=0):
            sink.step(0)
        return contents(warehouse)


def numbered_on(log: Bus) -> list[PreferenceJoined | PreferenceRemoved]:
    """The preferences that a reader of ``feedback.preferences`` accepts, in order; a gap would raise."""
    watermark, taken = Watermark(), []
    for entry in everything(log, PREFERENCES.name):
        watermark, numbered = advance(watermark, decode(entry.value))
        taken += [numbered] if numbered is not None else []
    return taken


@settings(max_examples=examples(8))
@given(records=logs(), before=st.integers(0, 30), kills=KILLS, batch=st.integers(1, 9))
def test_a_hub_killed_anywhere_leaves_the_rows_and_the_preferences_of_one_clean_pass(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], before: int, kills: list[int], batch: int
) -> None:
    folder, log, undisturbed = tmp_path_factory.mktemp("hub"), MemoryBus(), MemoryBus()
    log.publish(records[:before], timeout=1)
    last: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.stations.sink.BATCH", batch)
        lives(kills, lambda switch: last.update(hub_live(log, folder / "killed.duckdb", switch, records[before:] if not last else ())))
    assert last, "the last life is not killed"
    clean = hub_live(undisturbed, folder / "clean.duckdb", KillSwitch(), records)
    facts = [table for table in clean if table not in OF_THE_NUMBERING]
    assert {table: last[table] for table in facts} == {table: clean[table] for table in facts}
    assert holding(numbered_on(log)) == holding(numbered_on(undisturbed))
    with Warehouse.open(folder / "killed.duckdb") as warehouse:
        assert warehouse.preferences_after(0, 1_000) == numbered_on(log)
    assert replay(log, folder / "replayed.duckdb", lambda *_: None) == last, "one clean pass over the same log"


class ClaimsLast(MortalBus):
    """Returns other topics first, as Kafka may: a hub that reads here keeps numbering long after another has claimed."""

    def read(self, after: Mapping[Partition, int], *, limit: int, wait: float) -> list[Logged]:
        others = {partition: offset for partition, offset in after.items() if partition.topic != PREFERENCES.name}
        return super().read(others, limit=limit, wait=0) or super().read(after, limit=limit, wait=wait)


@settings(max_examples=examples(12))
@given(records=logs(), turns=st.lists(st.sampled_from(["publish", "publish", "old", "new"]), max_size=25), batch=st.integers(1, 3))
def test_of_two_hubs_the_older_stops_numbering_and_readers_ignore_what_it_still_publishes(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], turns: list[str], batch: int
) -> None:
    folder, log, waiting = tmp_path_factory.mktemp("hubs"), MemoryBus(), iter(records)
    with (
        closing(Warehouse.open(folder / "old.duckdb")) as one,
        closing(Warehouse.open(folder / "new.duckdb")) as two,
        pytest.MonkeyPatch.context() as patch,
    ):
        # The older hub lags when the claim is published, and keeps numbering for a while.
        patch.setattr("streams.stations.sink.BATCH", batch)
        old, new = Sink(ClaimsLast(log, KillSwitch()), one, "old"), Sink(log, two, "new")
        old.start()
        started = deposed = False
        for turn in [*turns, "new", *["old"] * 60]:
            try:
                if turn == "publish":
                    log.publish(list(itertools.islice(waiting, 3)), timeout=1)
                elif turn == "old" and not deposed:
                    old.step(0)
                elif turn == "new":
                    new.step(0) if started else new.start()
                    started = True
            except WarehouseError as error:
                deposed = turn == "old" and "has claimed epoch 2 above ours, 1" in str(error)
                if not deposed:
                    raise
        assert deposed
        log.publish(list(waiting), timeout=1)
        while log.read(new._after, limit=1, wait=0):
            new.step(0)
        taken = numbered_on(log)
        assert two.preferences_after(0, 1_000) == taken
    assert holding(taken) == holding_by_the_rule(records)


def holding_by_the_rule(records: Sequence[Record]) -> set[tuple[Any, str]]:
    """The expected preferences: all pairs of these logs have features, so each recruiter's last published judgment of a pair holds."""
    latest: dict[Any, JudgmentGiven] = {}
    known: set[Any] = set()
    for record in records:
        event = decode(record.value) if record != UNREADABLE else None
        if isinstance(event, JudgmentGiven) and event.pair_id != pair(3).pair_id and event.event_id not in known:
            known.add(event.event_id)  # a repeat changes nothing
            latest[event.pair_id, event.recruiter] = event
    strata = {pair(number).pair_id: pair(number).stratum for number in range(3)}
    return {(event.event_id, strata[event.pair_id]) for event in latest.values() if event.choice != "skip"}


@settings(max_examples=examples(60))
@given(data=st.data(), kills=KILLS, count=st.integers(1, 12))
def test_a_learner_killed_anywhere_with_any_older_checkpoint_has_the_weights_of_one_clean_pass(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kills: list[int], count: int
) -> None:
    folder, log, clock = tmp_path_factory.mktemp("learner"), MemoryBus(), Clock()
    kept: list[bytes | None] = [None]  # earlier checkpoints; None: the file is lost
    entries: list[Event] = [claimed(1), *(joined(number) for number in range(1, count + 1))]
    for at in sorted(data.draw(st.lists(st.integers(1, count), max_size=3)), reverse=True):
        entries[at:at] = entries[data.draw(st.integers(0, at)) : at]  # a hub that retried
    published = iter(records_of(entries))

    def live(switch: KillSwitch) -> None:
        files = list(folder.glob("*/head.safetensors"))
        for file in files:
            kept.append(file.read_bytes())
            put = data.draw(st.sampled_from([kept[-1], *kept]))
            file.write_bytes(put) if put is not None else file.unlink()
        station = mortal_learner(log, folder, clock, switch)
        while some := list(itertools.islice(published, 3)):
            log.publish(some, timeout=1)
            station.step(0)
            clock.now += 0.06
        clock.now += 1
        station.step(0)
        station.close()
        assert np.array_equal(station.head.overall.mean, mean_after(*(joined(number) for number in range(1, count + 1))))
        assert station.head.sequence == count

    lives(kills, live)
    words = said_by(log)
    assert words[-1].sequence == count
    assert all(later.judgments_before == earlier.judgments_seen for earlier, later in itertools.pairwise(words))
    for word in words:
        assert len({other.mean for other in words if other.sequence == word.sequence}) == 1


def mortal_learner(log: Bus, folder: Path, clock: Clock, switch: KillSwitch) -> Learner:
    """A learner that may also be killed before it writes its checkpoint."""
    station = learner(MortalBus(log, switch), folder, clock)
    flush = station.flush

    def flushed(*, at_threshold: bool = False) -> RewardUpdated | None:
        switch.moment()
        return flush(at_threshold=at_threshold)

    station.flush = flushed  # type: ignore[method-assign]
    return station


@settings(max_examples=examples(150))
@given(steps=st.lists(st.integers(-3, 40), min_size=1, max_size=12), kills=KILLS, batch=st.integers(1, 5))
def test_a_trigger_killed_anywhere_asks_for_the_runs_of_one_clean_pass(steps: list[int], kills: list[int], batch: int) -> None:
    log, rule = MemoryBus(), RetrainingRule(every=20)
    seen = [max(total, 0) for total in itertools.accumulate(steps, initial=0)]
    words = [updated(before, after, number + 1) for number, (before, after) in enumerate(itertools.pairwise(seen))]
    log.publish(records_of(words), timeout=1)

    def ask(events: Sequence[Event]) -> list[Event]:
        return [run for word in events if isinstance(word, RewardUpdated) for run in on_reward_updated(word, rule, PLAN)]

    def live(switch: KillSwitch) -> None:
        station = HandlerStation(MortalBus(log, switch), "trigger", [REWARD], ask, batch=batch)
        while log.read(station._after, limit=1, wait=0):
            station.step(0)

    lives(kills, live)
    asked = [decode(entry.value) for entry in everything(log, REQUESTED.name)]
    assert {event.event_id: event for event in asked} == {event.event_id: event for event in ask(words)}
    assert list(runs.fold(asked)) == list(runs.fold(ask(words)))


@settings(max_examples=examples(8))
@given(kills=st.lists(st.integers(0, 12), max_size=4))
def test_a_hub_killed_while_it_freezes_and_promotes_freezes_one_dataset_and_promotes_once(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int]
) -> None:
    folder, log = tmp_path_factory.mktemp("hub"), MemoryBus()
    artifacts = Artifacts(str(folder / "artifacts"))
    asked = request(1).model_copy(update={"through_sequence": 4})
    artifacts.put_bytes(b"one")  # the policy
    approval = ReviewDecided(source="product", version=evaluated("one").version, decision="approve", reviewer="Rosa", reason="good")
    facts = [make(number) for number in range(6) for make in (pair, features, judgment)]
    log.publish(records_of([*facts, *of_its_run(evaluated("one"), artifacts), approval, asked]), timeout=1)
    for left in (".freezing-killed", str(run_id(9))):  # by a hub that was killed outright
        (folder / "freezing" / left).mkdir(parents=True)
        (folder / "freezing" / left / "prompts.parquet").write_bytes(b"what candidates wrote")

    def live(switch: KillSwitch) -> None:
        with closing(MortalWarehouse.opened(folder / "warehouse.duckdb", switch)) as warehouse, pytest.MonkeyPatch.context() as patch:
            patch.setattr("streams.stations.freeze.freeze", mortal(switch, freeze))
            sink = Sink(MortalBus(log, switch), warehouse, "hub")
            attestor = Attestor(artifacts, folder, AttestationSettings())
            attestor.prepare()
            coordinator = Coordinator(MortalBus(log, switch), warehouse, artifacts, folder / "freezing", threading.Event(), attestor)
            sink.listeners.append(coordinator.wake_for)
            sink.start()
            for _ in range(3):
                while log.read(sink._after, limit=1, wait=0):
                    sink.step(0)
                coordinator.wake()
                coordinator.step(0)

    lives(kills, live)
    events = [decode(entry.value) for topic in TOPICS for entry in everything(log, topic)]
    snapshots = {(event.event_id, event.snapshot) for event in events if isinstance(event, DatasetFrozen) and event.run_id == asked.run_id}
    assert len(snapshots) == 1
    promotions = [event for event in events if isinstance(event, ModelPromoted)]
    assert len({(event.event_id, event.record) for event in promotions}) == 1  # each life makes the same record
    assert promotions[0].record is not None
    assert promotions[0].record in artifacts
    assert lives_of(events, RunArtifacts(artifacts)).champions == ("base", approval.version)
    assert list((folder / "freezing").iterdir()) == []


def mortal(switch: KillSwitch, does: Callable[..., Any]) -> Callable[..., Any]:
    """``does``, which may be killed before and after the call."""

    def done(*arguments: Any, **named: Any) -> Any:
        switch.moment()
        result = does(*arguments, **named)
        switch.moment()
        return result

    return done


TURNS = st.sampled_from(["trainer-1", "trainer-2", "repeat", "late claim"])


@settings(max_examples=examples(40))
@given(turns=st.lists(st.tuples(TURNS, st.none() | st.integers(0, 8)), max_size=12), data=st.data())
def test_of_trainers_killed_anywhere_one_claim_counts_and_one_evaluation_is_there(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[str, int | None]], data: st.DataObject
) -> None:
    folder, log = tmp_path_factory.mktemp("trainers"), MemoryBus()
    log.publish(records_of([request(1), frozen(1)]), timeout=1)

    def live(name: str, switch: KillSwitch) -> None:
        station = Trainer(MortalBus(log, switch), folder, name, work_done, threading.Event())
        for _ in range(4):
            station.step(0)

    for turn, moments in [*turns, ("trainer-1", None), ("trainer-2", None), ("trainer-1", None)]:
        said = everything(log, PROGRESS.name)
        if turn == "repeat" and said:
            again = data.draw(st.sampled_from(said))
            log.publish([Record(PROGRESS.name, again.key, again.value)], timeout=1)
        elif turn == "late claim" and said:
            log.publish(records_of([claim("trainer-3", 1, 0).model_copy(update={"occurred_at": now()})]), timeout=1)
        elif turn.startswith("trainer"):
            lives([moments] if moments is not None else [], partial(live, turn))
    events = [decode(entry.value) for topic in TOPICS for entry in everything(log, topic)]
    run = runs.fold(events)[run_id(1)]
    claims = [event for event in events if isinstance(event, RunClaimed)]
    assert (run.attempt, run.trainer) == (1, claims[0].trainer)
    assert run.evaluated is not None
    assert len({event.event_id for event in events if isinstance(event, ModelEvaluated)}) == 1
    assert len(versions.fold(events, accept_all()).versions) == 1
