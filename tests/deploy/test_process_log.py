"""Lines of the process log: during a broker outage those of client libraries are rate-limited and our own are not; times are UTC."""

import logging

from deploy.process_log import MIN_INTERVAL, RateLimit, utc_formatter


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


def test_times_are_utc_and_say_so() -> None:
    record = line("streams.stations.sink")
    record.created, record.msecs = 1_700_000_000.25, 250.0
    assert utc_formatter("%(asctime)s %(message)s").format(record) == "2023-11-14T22:13:20.250Z node 1 is away"
