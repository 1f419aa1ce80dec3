"""During a broker outage, client libraries' log lines are rate-limited and our own are not."""

import logging

from deploy.process_log import MIN_INTERVAL, RateLimit


def line(name: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, "node %d is away", (1,), None)


def test_a_library_that_repeats_itself_is_rate_limited_and_the_dropped_lines_are_counted() -> None:
    now = 0.0
    limit = RateLimit(lambda: now)
    assert [limit.filter(line("kafka.cluster")) for _ in range(100)] == [True] + [False] * 99
    assert limit.filter(line("kafka.net"))
    now = MIN_INTERVAL
    later = line("kafka.cluster")
    assert limit.filter(later)
    assert later.getMessage() == "node 1 is away (99 more lines dropped since the last one)"


def test_our_own_lines_are_never_dropped() -> None:
    limit = RateLimit(lambda: 0.0)
    assert all(limit.filter(line("streams.stations.sink")) for _ in range(100))
