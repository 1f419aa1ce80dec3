"""The newest head for processes that only predict: this machine's where there is one, else the store's, read no more often than needed."""

from pathlib import Path

import pytest

from storage.artifacts import Artifacts
from streams.bus.topics import PREFERENCES
from streams.current_head import CurrentHead
from tests.streams.bus_contract import everything
from tests.streams.examples import claimed, joined
from tests.streams.memory_bus import MemoryBus
from tests.streams.test_learner import Clock, learner, publish
from trainers.reward.online.settings import HeadSettings


def test_it_is_the_learners_checkpoint_on_this_machine_and_the_stores_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("streams.stations.head_checkpoints", "streams.current_head"):
        monkeypatch.setattr(f"{module}.UPLOAD_EVERY", 4)
    bus, clock, artifacts = MemoryBus(), Clock(), Artifacts(str(tmp_path / "artifacts"))
    here, elsewhere = CurrentHead(bus, tmp_path / "learner", artifacts), CurrentHead(bus, tmp_path / "nothing", artifacts)
    assert here.newest() is elsewhere.newest() is None

    station = learner(bus, tmp_path / "learner", clock, artifacts=artifacts, settings=HeadSettings(reconcile_every=3))
    sequences = []
    for some in ([claimed(1), *(joined(i) for i in range(1, 4))], [joined(4), joined(5)], [joined(6)], [joined(7), joined(8)]):
        publish(bus, *some)
        clock.now += 10
        station.step(0)
        station.step(0)
        one, other = here.newest(), elsewhere.newest()
        assert one is not None
        assert one is here.newest()
        sequences.append((one.sequence, other.sequence if other is not None else None))
    assert len(everything(bus, PREFERENCES.name)) == 9
    assert sequences == [(3, None), (5, 5), (6, 5), (8, 8)]
    whole = here.newest(history=True)
    assert whole is not None
    assert len(whole.history.rows()) == 8
    assert here.newest() is not whole
