"""What a process writes to its log, so that it can be read: our own words whole, and those of the libraries about a broker that is away,
thousands of them in an outage, now and then."""

import logging
import time
from collections.abc import Callable, Mapping

LEVELS: Mapping[str, int] = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "kafka": logging.WARNING}
CHATTY = ("kafka", "aiokafka", "faust", "mode")
PAUSE = 10.0  # seconds between two lines of one logger


class NowAndThen(logging.Filter):
    """Lets a line of a chatty library through when its logger has been silent for ``PAUSE`` seconds, with how many were left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.split(".")[0] not in CHATTY:
            return True
        at = self._clock()
        if at - self._said.get(record.name, -PAUSE) < PAUSE:
            self._left_out[record.name] = self._left_out.get(record.name, 0) + 1
            return False
        self._said[record.name] = at
        if left_out := self._left_out.pop(record.name, 0):
            record.msg, record.args = f"{record.getMessage()} (and {left_out} lines more since the last)", None
        return True


def start_log() -> None:
    """Write to stderr from here on."""
    handler = logging.StreamHandler()
    handler.addFilter(NowAndThen())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler])
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
