"""Prometheus metrics of a process, served under ``/metrics`` beside its health.

Gauges are computed on each scrape.
"""

import math
from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram

from storage.errors import FeedbackLoopError
from storage.events import Event, now

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)

_LATENCY = Histogram("feedbackloop_latency_seconds", "From an event's acceptance to its effect at a station.", ["station"], buckets=BUCKETS)
_QUARANTINED = Counter("feedbackloop_quarantined_total", "Entries that this process has quarantined.", ["reader"])
_LAG = Gauge("feedbackloop_lag_entries", "Entries of its topics that a reader has not processed.", ["reader"])
_LOCAL = Gauge("feedbackloop_local_log_entries", "Accepted events on this machine's disk that Kafka does not have yet.")
_WAITING = Gauge("feedbackloop_judgments_waiting", "Judgments waiting for their pair or its features.")
_SECOND = Gauge("feedbackloop_second_responses_waiting", "Second responses that are being generated, or wait for their turn.")
_ENDED = Counter("feedbackloop_retention_ended_total", "Conversations and records whose time was over.", ["what"])
_WEBHOOKS = Counter("feedbackloop_webhooks_total", "Attempts to deliver webhooks, and those given up.", ["endpoint", "outcome"])


def observe_latency(station: str, events: Iterable[Event]) -> None:
    """Record the latency of events that have had their effect at the station; imported events are left out."""
    moment = now()
    latency = _LATENCY.labels(station)
    for event in events:
        if event.source != "import":
            latency.observe(max((moment - event.occurred_at).total_seconds(), 0.0))


def count_quarantined(reader: str) -> None:
    _QUARANTINED.labels(reader).inc()


def count_ended(what: str, number: int) -> None:
    """``what``: conversation, or record (of a decision or of groups)."""
    _ENDED.labels(what).inc(number)


def count_webhook(endpoint: str, outcome: str) -> None:
    """``outcome``: delivered, failed (to be tried again) or given_up."""
    _WEBHOOKS.labels(endpoint, outcome).inc()


def reader_lag(reader: str, behind: Callable[[], int]) -> None:
    """Report the lag of ``reader``."""
    _LAG.labels(reader).set_function(_or_nan(behind))


def local_log(waiting: Callable[[], int]) -> None:
    """Report how many accepted events are in the outbox."""
    _LOCAL.set_function(_or_nan(waiting))


def waiting_judgments(waiting: Callable[[], int]) -> None:
    """Report how many judgments wait in the join."""
    _WAITING.set_function(_or_nan(waiting))


def second_responses(waiting: Callable[[], int]) -> None:
    """Report how many replies wait for their second response."""
    _SECOND.set_function(waiting)


def _or_nan(ask: Callable[[], int]) -> Callable[[], float]:
    def answer() -> float:
        try:
            return ask()
        except FeedbackLoopError:  # the log is unreachable: report NaN, do not fail the scrape
            return math.nan

    return answer
