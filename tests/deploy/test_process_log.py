"""A broker's outage does not bury what this program says."""

import logging

from deploy.process_log import PAUSE, NowAndThen


def line(name: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, "", 0, "node %d is away", (1,), None)


def test_a_library_that_repeats_itself_is_heard_now_and_then_with_how_much_was_left_out() -> None:
    now = 0.0
    rare = NowAndThen(lambda: now)
    assert [rare.filter(line("kafka.cluster")) for _ in range(100)] == [True] + [False] * 99
    assert rare.filter(line("kafka.net"))
    now = PAUSE
    later = line("kafka.cluster")
    assert rare.filter(later)
    assert later.getMessage() == "node 1 is away (and 99 lines more since the last)"


def test_our_own_words_are_never_left_out() -> None:
    rare = NowAndThen(lambda: 0.0)
    assert all(rare.filter(line("streams.stations.sink")) for _ in range(100))
