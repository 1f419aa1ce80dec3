"""What each process measures, in Prometheus' format under ``/metrics`` beside its health.

Gauges are read when somebody asks; nothing is counted that nobody looks at.
"""

import math
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram

from storage.errors import FeedbackLoopError
from storage.events import Event, now

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)

_LATENCY = Histogram("feedbackloop_latency_seconds", "From an event's acceptance to its effect at a station.", ["station"], buckets=BUCKETS)
_QUARANTINED = Counter("feedbackloop_quarantined_total", "Entries that this process set aside.", ["reader"])
_LAG = Gauge("feedbackloop_lag_entries", "Entries of its topics that a reader has not dealt with.", ["reader"])
_LOCAL = Gauge("feedbackloop_local_log_entries", "Accepted events on this machine's disk that Kafka does not have yet.")
_WAITING = Gauge("feedbackloop_judgments_waiting", "Judgments that wait for their pair or its features.")


def reached(station: str, events: Iterable[Event]) -> None:
    """The events have had their effect at the station. Imported ones were accepted long before and say nothing of the loop's speed."""
    moment = now()
    latency = _LATENCY.labels(station)
    for event in events:
        if event.source != "import":
            latency.observe(max((moment - event.occurred_at).total_seconds(), 0.0))


def set_aside(reader: str) -> None:
    """One more entry in quarantine."""
    _QUARANTINED.labels(reader).inc()


def reader_lag(reader: str, behind: Callable[[], int]) -> None:
    """Report how far ``reader`` is behind the log."""
    _LAG.labels(reader).set_function(_or_unknown(behind))


def local_log(waiting: Callable[[], int]) -> None:
    """Report how many accepted events wait for Kafka."""
    _LOCAL.set_function(_or_unknown(waiting))


def waiting_judgments(waiting: Callable[[], int]) -> None:
    """Report how many judgments the join waits with."""
    _WAITING.set_function(_or_unknown(waiting))


def _or_unknown(ask: Callable[[], int]) -> Callable[[], float]:
    def answer() -> float:
        try:
            return ask()
        except FeedbackLoopError:  # the log is away: that is no reason to say nothing of the rest
            return math.nan

    return answer
