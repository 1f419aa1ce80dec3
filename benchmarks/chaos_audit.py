"""What is held against what, once the loop has come to rest after chaos.

Acknowledged events against log and warehouse; the warehouse against the log, row by row, and against one that is rebuilt from it; the
learner's weights against one clean pass over ``feedback.preferences``; every run against "one artifact, one evaluation".
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np

from benchmarks.chaos_house import House, gauge
from dashboard.actions.verification import verified
from deploy.own_processes import client
from storage.artifacts import Artifacts
from storage.events import Event, ModelEvaluated, Numbered, Watermark, advance
from storage.texts.texts import Texts
from storage.warehouse.contents import contents
from storage.warehouse.rows import TABLES
from storage.warehouse.warehouse import Warehouse
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Logged
from streams.bus.quarantine import decoded
from streams.bus.resume import PARTITION
from streams.bus.scan import batches
from streams.bus.topics import PAIRS, TOPICS
from streams.replay import replay
from trainers.data.preference import Entry
from trainers.reward.online.checkpoint import load
from trainers.reward.online.head import Head, new_head
from trainers.reward.online.learn import learn_all


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes
    ----------
    lost : acknowledged events that are not on the log, or have no row
    doubled : ids with more than one row, and judgments with more than one standing number
    repeats_on_the_log : entries that repeat an earlier one; the readers recognise them
    reward_weight_difference : the greatest, over mean and covariance, between the learner's and a clean pass
    preferences : numbers that were learnt
    most_evaluations, most_artifacts : of the run that has most of them
    differences : everything else that is not as it should be, in words
    """

    lost: int
    doubled: int
    repeats_on_the_log: int
    reward_weight_difference: float
    preferences: int
    prequential_accuracy: float
    runs: int
    most_evaluations: int
    most_artifacts: int
    differences: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.reward_weight_difference or self.differences)


def settled(house: House, within: float, say: Callable[[str], None]) -> None:
    """Return when every reader has dealt with the whole log, nothing waits, and every run has ended."""
    deadline, said = time.monotonic() + within, ""
    with closing(house.open_bus()) as bus:
        while left := "; ".join(_unsettled(house, bus)):
            if time.monotonic() > deadline:
                raise AssertionError(f"not at rest after {within:.0f} s: {left}")
            if left.split(":")[0] != said:
                said = left.split(":")[0]
                say(f"waiting: {left}")
            time.sleep(1)


def audit(house: House, acknowledged: Mapping[str, str]) -> Audit:
    """Compare everything; no process may be running."""
    home = house.settings.common.home
    with (
        closing(house.open_bus()) as bus,
        Warehouse.open(home / "warehouse.duckdb") as warehouse,
        closing(Texts.of(house.settings)) as texts,
    ):
        logged = Counter(str(event.event_id) for _, event in _log(bus))
        rows = _rows(warehouse)
        lost = sum(event_id not in logged or event_id not in rows for event_id in acknowledged)
        clean, offered = _clean_pass(bus, house, texts)
        report = verified(bus, warehouse, Artifacts(house.settings.common.artifacts_url), house.settings, texts)
        del report["not_covered"]
        differences = [] if report.pop("ok") else [f"verify: {kind}: {found}" for kind, found in report.items() if found]
        differences += _replayed(bus, warehouse, home / "audit.duckdb")
        evaluations, artifacts = _runs(bus)
        head = _learnt(house)
        if head.sequence != clean.sequence:
            differences.append(f"the learner stands at preference {head.sequence}, the log ends with {clean.sequence}")
        return Audit(
            lost=lost,
            doubled=sum(count > 1 for count in rows.values()) + _numbered_twice(offered),
            repeats_on_the_log=sum(count - 1 for count in logged.values()),
            reward_weight_difference=_difference(head, clean),
            preferences=clean.sequence,
            prequential_accuracy=clean.prequential[0] or 0.0,
            runs=len(evaluations),
            most_evaluations=max(evaluations.values(), default=0),
            most_artifacts=max(map(len, artifacts.values()), default=0),
            differences=tuple(differences),
        )


def _unsettled(house: House, bus: Bus) -> Iterator[str]:
    try:
        if waiting := gauge(house.serving, "feedbackloop_second_responses_waiting"):  # first: each may still become a pair on the log
            yield f"pairing: {waiting:.0f} second responses"
        for url in (house.serving, house.hub):
            if waiting := gauge(url, "feedbackloop_local_log_entries"):
                yield f"local log: {waiting:.0f} events"
        status = client().get(f"{house.hub}/v1/status", timeout=10).json()
        listed = client().get(f"{house.hub}/v1/runs", timeout=10).json()["runs"]
    except httpx.TransportError as error:
        yield f"no answer: {error!r}"
        return
    if behind := lag(bus, "sink", list(TOPICS.values())):
        yield f"sink: {behind} entries behind"
    if behind := lag(bus, "embed", [PAIRS]):
        yield f"embed: {behind} entries behind"
    waiting = status["waiting"]
    if count := waiting["judgments_without_pair"] + waiting["judgments_without_features"]:
        yield f"join: {count} judgments wait"
    numbered = status["counts"]["preferences"] + status["counts"]["removed"]
    if (learnt := status["counts"]["learnt"]) < numbered:
        yield f"learner: at {learnt} of {numbered}"
    lacks_evidence = any(run["waiting"] for run in listed)  # and gets none any more: the traffic has ended
    if house.runs.one_is_open() or not (house.runs.all_ended() or lacks_evidence):
        yield "runs: one is open or waits"


def _log(bus: Bus) -> Iterator[tuple[Logged, Event]]:
    for partition in bus.bounds(list(TOPICS)):
        for entries in batches(bus, {partition: -1}):
            yield from decoded(entries, "audit").events


def _rows(warehouse: Warehouse) -> Counter[str]:
    """How many rows each event id has, over all tables."""
    found: Counter[str] = Counter()
    for table in TABLES.values():
        for event_id, count in warehouse.cursor().execute(f"SELECT event_id, count(*) FROM {table} GROUP BY event_id").fetchall():
            found[str(event_id)] += count
    return found


def _clean_pass(bus: Bus, house: House, texts: Texts) -> tuple[Head, list[Numbered]]:
    """The head after one pass over the topic by nobody who was ever interrupted, and what it took."""
    kept = _learnt(house)
    head = new_head(kept.settings, kept.embedding_hash, kept.dimension, kept.sources)
    watermark, taken = Watermark(), []
    for entries in batches(bus, {PARTITION: -1}):
        for _, event in decoded(entries, "audit").events:
            watermark, numbered = advance(watermark, event)
            if numbered is not None:
                taken.append(numbered)
    return learn_all(head, [Entry.of(event, texts) for event in taken]), taken


def _numbered_twice(taken: list[Numbered]) -> int:
    """Judgments that hold under two numbers at once."""
    standing: dict[UUID, set[int]] = defaultdict(set)
    judgment_of: dict[int, UUID] = {}
    for event in taken:
        if event.kind == "PreferenceJoined":
            standing[event.judgment.event_id].add(event.sequence)
            judgment_of[event.sequence] = event.judgment.event_id
        else:
            standing[judgment_of[event.removes]].discard(event.removes)
    return sum(len(numbers) > 1 for numbers in standing.values())


def _learnt(house: House) -> Head:
    """The newest checkpoint of the workers."""
    heads = [load(path) for worker in house.workers for path in (worker.common.home / "learner").glob("*/head.safetensors")]
    return max(heads, key=lambda head: head.sequence)


def _difference(one: Head, other: Head) -> float:
    lower = np.tril_indices(len(one.overall.mean))
    return float(
        max(
            np.abs(one.overall.mean - other.overall.mean).max(),
            np.abs(one.overall.covariance[lower] - other.overall.covariance[lower]).max(),
        )
    )


def _replayed(bus: Bus, warehouse: Warehouse, file: Path) -> list[str]:
    """The tables whose contents are not those of a warehouse rebuilt from the log."""
    rebuilt = replay(bus, file, lambda done, total: None)
    return [
        f"replay: {table} holds {found.rows} rows here and {rebuilt[table].rows} there, or others"
        for table, found in contents(warehouse).items()
        if found != rebuilt[table]
    ]


def _runs(bus: Bus) -> tuple[Counter[UUID], dict[UUID, set[str]]]:
    """Evaluations and policies of each run."""
    evaluations: dict[UUID, set[UUID]] = defaultdict(set)
    artifacts: dict[UUID, set[str]] = defaultdict(set)
    for _, event in _log(bus):
        if isinstance(event, ModelEvaluated):
            evaluations[event.run_id].add(event.event_id)
            artifacts[event.run_id].add(event.policy)
    return Counter({run: len(ids) for run, ids in evaluations.items()}), artifacts
