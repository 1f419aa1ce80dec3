"""All processes of ``streams`` on a real log and warehouse: from a judgment to a champion, and across a restart."""

import asyncio
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from prometheus_client import generate_latest

from dashboard.actions.verification import verified
from storage.artifacts import Artifacts
from storage.events import (
    DatasetFrozen,
    Event,
    EventQuarantined,
    Message,
    ModelEvaluated,
    ModelPromoted,
    PairDrawn,
    PairEmbedded,
    ReviewDecided,
    RewardUpdated,
    TrainingRequested,
    unpack,
)
from storage.events.wire import decode
from storage.settings import Settings
from storage.snapshots.snapshot import open_snapshot
from storage.texts.keys import text_keys
from storage.texts.texts import Texts
from storage.warehouse.contents import contents
from storage.warehouse.warehouse import Warehouse
from streams.attestation.verify import verify
from streams.bus.open import bus_of, keys_of
from streams.bus.protocol import records_of
from streams.bus.topics import TOPIC_OF, TOPICS
from streams.child import Progress
from streams.hub import HubStreams
from streams.intake import Intake
from streams.privacy.sealing import sealer_of
from streams.processor import agents_for, start_consumers
from streams.replay import replay
from streams.stations.runner import Runner
from streams.stations.train import Outcome, Trainer, Work
from tests.streams.bus_contract import everything
from tests.streams.examples import SmallEmbedder, evaluated, gate, of_its_run
from tests.streams.test_trainer import TRAINED
from trainers.runs.frozen import read_frozen

PROMPT = [{"role": "user", "content": "Is the role still open?"}]
RETRAINING = {"every": 20}
GATES = {"win_rate": {"min_prompts": 1, "min_judgments": 1, "min_recruiters": 1}}  # little to wait for


class House:
    """Hub, processor and trainer in threads of this process, on one home; a second instance on the same home is a restart."""

    def __init__(self, home: Path, bus: str = "") -> None:
        self.home = home
        self.settings = Settings.read(home, {}).with_values(
            {"home": home, "bus": bus}, retraining=RETRAINING, gates=GATES, duel={"required": False}
        )
        self.stop = threading.Event()
        self.bus = bus_of(self.settings)
        self.warehouse = Warehouse.open(home / "warehouse.duckdb")
        self.artifacts = Artifacts(self.settings.common.artifacts_url)
        self.texts = Texts(keys_of(self.settings, self.bus))
        self.hub = HubStreams(self.bus, self.warehouse, self.artifacts, home, texts=self.texts)
        self.runner = Runner(self.stop)
        self.sealing = text_keys(self.settings)  # of another process
        self.intake = Intake(self.bus, b"k" * 32, sealer=sealer_of(self.settings, self.sealing))
        self.snapshots: list[Path] = []

    def start(self) -> "House":
        self.hub.start()
        if self.settings.common.bus:
            agents = agents_for(self.bus, self.settings, SmallEmbedder(), self.texts)
            self.faust = threading.Thread(target=asyncio.run, args=(agents.run(self.stop),))
            self.faust.start()
        else:
            start_consumers(self.runner, self.bus, self.settings, SmallEmbedder(), self.texts, self.stop)
        self.runner.start("trainer", lambda: Trainer(self.bus, self.home, "trainer-1", self.train, self.stop))
        return self

    def train(self, work: Work, progress: Progress) -> Outcome:
        assert work.run.frozen is not None
        self.snapshots.append(self.artifacts.get(work.run.frozen.snapshot))
        progress("train", 1, 1, {}, {})
        assert self.artifacts.put_bytes(b"one") == TRAINED.policy
        assert work.run.request is not None
        assert work.run.request.settings is not None
        settings = read_frozen(self.artifacts, work.run.request.settings)
        gates = tuple(gate("passed", name) for name in settings.required)
        *_, event = of_its_run(evaluated("one", run_id=work.run.frozen.run_id, gates=gates), self.artifacts, settings=settings)
        return replace(TRAINED, report=event.report, gates=gates)

    def close(self) -> None:
        self.stop.set()
        assert self.runner.join(10)
        assert self.hub.stop(10)
        assert self.runner.problems == {}
        self.warehouse.close()
        self.sealing.close()
        self.texts.close()
        self.bus.close()

    def on(self, *kinds: type[Event]) -> list[Event]:
        topics = {TOPIC_OF[kind].name for kind in kinds}
        return [event for entry in everything(self.bus, *topics) if isinstance(event := decode(entry.value), kinds)]

    def wait(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until the condition holds; checked whenever something has been published."""
        deadline = monotonic() + seconds
        after = {partition: following - 1 for partition, (_, following) in self.bus.bounds([t.name for t in TOPIC_OF.values()]).items()}
        while not condition():
            assert monotonic() < deadline, f"not within {seconds} s"
            for entry in self.bus.read(after, limit=1_000, wait=0.1):
                after[entry.partition] = entry.offset

    def judged(self, count: int, start: int = 0) -> None:
        for i in range(start, start + count):
            pair = self.intake.pair(
                prompt=PROMPT,
                a={"text": f"Reply {i}.", "version": "base"},
                b={"text": f"Reply {i}, and a longer one.", "version": "base"},
                conversation_id=f"conversation-{i}",
            )
            self.intake.judgment(pair_id=pair.pair_id, recruiter=f"recruiter {i % 5}", choice="B", shown_first="A")
            self.intake.reply(conversation_id=f"conversation-{i}", prompt=PROMPT, reply=f"Reply {i}.", version="base", sampling={})

    def last_update(self) -> RewardUpdated | None:
        updates = self.on(RewardUpdated)
        return updates[-1] if updates and isinstance(updates[-1], RewardUpdated) else None

    def learnt(self, count: int) -> bool:
        update = self.last_update()
        return update is not None and update.sequence == count


@pytest.fixture(params=["sqlite", "kafka"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    built = House(tmp_path, request.getfixturevalue("empty_kafka") if request.param == "kafka" else "").start()
    yield built
    built.close()


def test_judgments_become_a_reward_a_run_a_snapshot_a_version_and_with_an_approval_a_champion(house: House) -> None:
    house.judged(40)
    house.wait(lambda: house.learnt(40))
    trained = sum(pair.stratum == "training" for pair in house.on(PairDrawn) if isinstance(pair, PairDrawn))
    update = house.last_update()
    assert update is not None
    assert update.judgments_seen == trained
    house.wait(lambda: bool(house.on(ModelEvaluated)))
    said = generate_latest().decode()
    assert 'feedbackloop_lag_entries{reader="embed"}' not in said or 'feedbackloop_lag_entries{reader="embed"} 0.0' in said
    for station in ("embed", "sink", "learner"):
        (count,) = re.findall(rf'^feedbackloop_latency_seconds_count{{station="{station}"}} (\d+)', said, re.M)
        assert int(count) >= 40

    (request,) = house.on(TrainingRequested)
    assert isinstance(request, TrainingRequested)
    assert (request.k, trained >= 20) == (1, True)
    (frozen,) = house.on(DatasetFrozen)
    assert isinstance(frozen, DatasetFrozen)
    snapshot = open_snapshot(house.snapshots[0], house.texts)
    assert snapshot.preferences.num_rows == request.through_sequence
    assert set(snapshot.preferences["stratum"].to_pylist()) == {"training", "evaluation"}
    assert (frozen.champion, frozen.champion_policy, frozen.challengers_before) == ("base", None, 0)

    house.bus.publish(
        records_of([ReviewDecided(source="product", version=TRAINED.version, decision="approve", reviewer="Grace", reason="good")]),
        timeout=5,
    )
    house.wait(lambda: bool(house.on(ModelPromoted)))
    (promoted,) = house.on(ModelPromoted)
    assert isinstance(promoted, ModelPromoted)
    assert promoted.version == TRAINED.version
    assert promoted.record is not None
    assert verify(house.artifacts.read(promoted.record), house.artifacts, house.hub.attestor.keys.trusted()).ok
    assert house.on(EventQuarantined) == []


def test_sealed_judgments_move_the_reward_and_verify_and_replay_agree_with_the_log(house: House, tmp_path: Path) -> None:
    house.judged(12)
    house.wait(lambda: house.learnt(12))
    update = house.last_update()
    assert update is not None
    assert np.linalg.norm(unpack(update.mean)) > 0
    assert b"a longer one" not in b"".join(entry.value for entry in everything(house.bus, *TOPICS))
    pairs = [pair for pair in house.on(PairDrawn) if isinstance(pair, PairDrawn)]
    assert {house.texts.event(pair).b.text for pair in pairs} == {f"Reply {i}, and a longer one." for i in range(12)}
    house.wait(lambda: stored(house))
    report = verified(house.bus, house.warehouse, house.artifacts, house.settings, house.texts)
    assert report["ok"], report
    assert replay(house.bus, tmp_path / "again.duckdb", lambda *_: None) == contents(house.warehouse)


def stored(house: House) -> bool:
    """Whether the warehouse has everything that is on the log."""
    offsets = house.warehouse.offsets()
    return all(following - 1 == offsets.get(partition, -1) for partition, (_, following) in house.bus.bounds(list(TOPICS)).items())


def test_after_a_restart_nothing_accepted_is_missing_and_nothing_counts_twice(tmp_path: Path) -> None:
    first = House(tmp_path).start()
    first.judged(15)
    first.wait(lambda: first.learnt(15))
    first.close()
    waiting = House(tmp_path)
    waiting.judged(20, start=15)  # serving accepts judgments while hub and processor are down
    waiting.start()
    waiting.wait(lambda: waiting.learnt(35))
    waiting.wait(lambda: bool(waiting.on(ModelEvaluated)))
    updates = [update for update in waiting.on(RewardUpdated) if isinstance(update, RewardUpdated)]
    assert all(later.judgments_before == earlier.judgments_seen for earlier, later in itertools.pairwise(updates))
    assert len(waiting.on(TrainingRequested)) == 1
    assert waiting.on(EventQuarantined) == []
    waiting.close()


def test_a_pair_that_cannot_be_embedded_is_quarantined_and_the_others_are_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = SmallEmbedder.features

    def fail_on_one(self: SmallEmbedder, items: Sequence[tuple[Sequence[Message], str]]) -> np.ndarray:
        if any("Reply 7." in text for _, text in items):
            raise ValueError("the encoder failed")
        return plain(self, items)

    monkeypatch.setattr(SmallEmbedder, "features", fail_on_one)
    house = House(tmp_path).start()
    house.judged(12)
    house.wait(lambda: house.learnt(11) and bool(house.on(EventQuarantined)))
    (quarantined,) = house.on(EventQuarantined)
    assert isinstance(quarantined, EventQuarantined)
    assert (quarantined.topic, quarantined.reader, quarantined.reason) == ("feedback.pairs", "embed", "ValueError: the encoder failed")
    assert len(house.on(PairEmbedded)) == 11
    house.close()
