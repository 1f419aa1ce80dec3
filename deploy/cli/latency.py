"""Latencies from a judgment to its effects, computed from the log afterwards.

A judgment starts at its ``occurred_at``, by the clock of the server that accepted it.
"""

import json
import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np

from deploy.own_processes import client
from storage.events import JudgmentGiven, PreferenceJoined, RewardUpdated
from streams.bus.protocol import Bus
from streams.bus.scan import to_end
from streams.bus.topics import JUDGMENTS, PREFERENCES, REWARD

READER = "latency"


@dataclass(frozen=True)
class Latencies:
    """Milliseconds, one value per judgment."""

    milliseconds: Sequence[float]

    def percentile(self, share: float) -> float | None:
        """The ``share``-th percentile in ms, interpolated linearly; ``None`` if nothing was measured."""
        return round(float(np.percentile(self.milliseconds, share)), 1) if self.milliseconds else None


def judgment_to_reward(bus: Bus) -> Latencies:
    """From a judgment's acceptance to the first reward update that includes it; training stratum only."""
    updates = [event for event in to_end(bus, [REWARD], READER) if isinstance(event, RewardUpdated)]
    sequences = [update.sequence for update in updates]
    found = []
    for event in to_end(bus, [PREFERENCES], READER):
        if isinstance(event, PreferenceJoined) and event.stratum == "training":
            first = bisect_left(sequences, event.sequence)
            if first < len(updates):
                found.append(_milliseconds(event.judgment.occurred_at, updates[first].occurred_at))
    return Latencies(found)


def judgment_to_dashboard(bus: Bus, seen: Sequence[tuple[datetime, datetime]]) -> Latencies:
    """From a judgment's acceptance to the first push of the live feed that includes it.

    Parameters
    ----------
    seen : pairs of (newest judgment's ``occurred_at`` in the push, when the push arrived), in the order of arrival
    """
    newest = [moment for moment, _ in seen]
    found = []
    for event in to_end(bus, [JUDGMENTS], READER):
        if isinstance(event, JudgmentGiven) and newest and event.occurred_at > newest[0]:
            first = bisect_left(newest, event.occurred_at)
            if first < len(seen):
                found.append(_milliseconds(event.occurred_at, seen[first][1]))
    return Latencies(found)


class LiveFeed:
    """Follows the hub's live feed as an open page does, and records when each newest judgment was seen."""

    def __init__(self, hub: str) -> None:
        self._hub = hub
        self._closing = threading.Event()
        self.latest: dict[str, Any] = {}
        self.seen: list[tuple[datetime, datetime]] = []  # (newest judgment's occurred_at, when it was seen)

    def __enter__(self) -> "LiveFeed":
        threading.Thread(target=self._follow, name="live-feed", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                with client().stream("GET", f"{self._hub}/v1/live", timeout=httpx.Timeout(10, read=30)) as stream:
                    for line in stream.iter_lines():
                        if line.startswith("data:"):
                            self._note(json.loads(line.removeprefix("data:")))
                        if self._closing.is_set():
                            return
            except httpx.HTTPError:  # the hub restarts: reconnect, as the pages do
                self._closing.wait(0.2)

    def _note(self, status: dict[str, Any]) -> None:
        self.latest = status
        newest = status["newest"]["judgment"]
        if newest:
            self.seen.append((datetime.fromisoformat(newest["occurred_at"]), datetime.now(UTC)))


def _milliseconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() * 1000
