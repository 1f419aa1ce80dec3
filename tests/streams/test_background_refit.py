"""A reconciliation computed in the background changes no weight, whether it finished in time, too late, or for judgments removed since."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.stations import background_refit as refit
from streams.stations.background_refit import BackgroundRefit, Throttle
from tests.trainers.preferences import EMBEDDING, drawn, removal
from trainers.data.preference import Entry
from trainers.reward.online.learn import Head, learn_all, new_head, reconcile, save
from trainers.reward.online.settings import HeadSettings

D = 12
EVERY = 50


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of the thread of each reconciliation."""
    names: list[str] = []

    def noted(head: Head, pause: Callable[[], None] = lambda: None) -> Head:
        names.append(threading.current_thread().name)
        return reconcile(head, pause)

    monkeypatch.setattr(refit, "reconcile", noted)
    return names


def learnt(events: list[Entry], batch: int) -> Head:
    head, beside = new_head(HeadSettings(reconcile_every=EVERY), EMBEDDING, D, ("product",)), BackgroundRefit()
    for i in range(0, len(events), batch):
        head = learn_all(head, events[i : i + batch], beside)
        beside.begin(head)
    beside.close()
    return head


def entries(*, taken_back_at: int | None) -> list[Entry]:
    events: list[Entry] = list(drawn(120, D, seed=1))
    if taken_back_at is not None:
        events[taken_back_at - 1] = removal(taken_back_at, 21)
    return events


@pytest.mark.parametrize("taken_back_at", [None, 30, 52, 53])
@pytest.mark.parametrize("batch", [1, 3, 7, 120])
def test_the_checkpoint_has_the_same_bytes_however_it_was_computed(tmp_path: Path, taken_back_at: int | None, batch: int) -> None:
    events = entries(taken_back_at=taken_back_at)
    alone = learn_all(new_head(HeadSettings(reconcile_every=EVERY), EMBEDDING, D, ("product",)), events)
    one, other = save(alone, tmp_path / "one"), save(learnt(events, batch), tmp_path / "other")
    assert one.read_bytes() == other.read_bytes()


def test_each_reconciliation_is_computed_once_in_a_background_thread(threads: list[str]) -> None:
    learnt(entries(taken_back_at=None), 1)
    assert [name.split("_")[0] for name in threads] == ["reconciliation"] * 2


def test_a_removal_during_the_computation_makes_it_run_again(threads: list[str]) -> None:
    learnt(entries(taken_back_at=53), 1)
    assert [name.split("_")[0] for name in threads] == ["reconciliation", "MainThread", "reconciliation"]


def test_waiting_for_a_reconciliation_ends_its_throttling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refit, "PAUSE_FACTOR", 1e6)
    pace = Throttle()
    pausing = threading.Thread(target=pace, daemon=True)
    pausing.start()
    pausing.join(0.05)
    assert pausing.is_alive()
    pace.hurry()
    pausing.join(5)
    assert not pausing.is_alive()
    learnt(entries(taken_back_at=None), 1)  # a throttled computation is hurried when its result is taken over
