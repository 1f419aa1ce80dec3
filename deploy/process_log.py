"""Logging of a process. Lines of Kafka client libraries are rate-limited: there are thousands of them during a broker outage."""

import logging
import time
from collections.abc import Callable, Mapping

LEVELS: Mapping[str, int] = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "kafka": logging.WARNING}
RATE_LIMITED = ("kafka", "aiokafka", "faust", "mode")
MIN_INTERVAL = 10.0  # seconds between two lines of one rate-limited logger


class RateLimit(logging.Filter):
    """Passes at most one line per ``MIN_INTERVAL`` of each ``RATE_LIMITED`` logger, with the number of lines dropped before it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at: dict[str, float] = {}
        self._dropped: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] not in RATE_LIMITED:
            return True
        at = self._clock()
        if at - self._passed_at.get(record.name, -MIN_INTERVAL) < MIN_INTERVAL:
            self._dropped[record.name] = self._dropped.get(record.name, 0) + 1
            return False
        self._passed_at[record.name] = at
        if dropped := self._dropped.pop(record.name, 0):
            record.msg, record.args = f"{record.getMessage()} ({dropped} more lines dropped since the last one)", None
        return True


def utc_formatter(line: str) -> logging.Formatter:
    """Formats with the times that events have, so that the logs of several machines and the audit trail can be compared."""
    made = logging.Formatter(line)
    made.converter = time.gmtime
    made.default_time_format, made.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
    return made


def start_log() -> None:
    """Configure logging to stderr."""
    handler = logging.StreamHandler()
    handler.addFilter(RateLimit())
    handler.setFormatter(utc_formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
