"""Which version serves: reads ``models.versions``, loads the champion's policy from the artifact store, and hands it to the backend.

One thread does it all, first at the start and then whenever the fold of the topic says another champion; candidates are answered by the one
before meanwhile. What cannot be loaded is tried again, since another machine's artifact may be on its way.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import orjson

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, ConfigurationError, EventUnreadable, FeedbackLoopError, Overloaded
from storage.wire import decode
from streams.bus import Bus, Partition
from streams.topics import VERSIONS
from streams.versions import Versions, step

log = logging.getLogger(__name__)

WAIT = 1.0  # seconds: how late this notices that it is to stop
AGAIN = 5.0  # seconds before what could not be loaded is tried again

Install = Callable[[str, Path | None], None]


class Promotions:
    """Follows the champion.

    Parameters
    ----------
    install : called with the version's name and its adapter's folder (``None``: the configured model itself); raises what it finds wrong
    explain : called with the reason while no champion can be installed
    give_up : called with a :class:`ConfigurationError` when the very first one cannot be: the person who started the program mends it
    memory : file that remembers who served last, for a start while the log is away
    """

    def __init__(
        self,
        bus: Bus,
        artifacts: Artifacts,
        *,
        install: Install,
        explain: Callable[[str], None],
        give_up: Callable[[ConfigurationError], None],
        memory: Path,
    ) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._install = install
        self._explain = explain
        self._give_up = give_up
        self._memory = memory
        self._versions = Versions()
        self._after: dict[Partition, int] = {}
        self._serving: tuple[str, str | None] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="promotions", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(5)

    def _follow(self) -> None:
        wait = 0.0
        while not self._stopping.is_set():
            try:
                self._look(wait)
                wait = WAIT
            except ConfigurationError as error:
                if self._serving is None:
                    self._give_up(error)
                    return
                self._hesitate(error)
            except FeedbackLoopError as error:
                self._hesitate(error)
            except Exception as error:
                log.exception("following the champion failed")
                self._hesitate(error)

    def _look(self, wait: float) -> None:
        """Adopt whom the log says; where it is away, candidates do not wait for it: who served last serves on."""
        try:
            while self._read(wait):  # all that is there, before anything is loaded
                wait = 0.0
        except Overloaded as away:
            if self._serving is None and self._memory.exists():
                log.warning("%s; the last champion serves meanwhile", away)
                self._let_serve(*orjson.loads(self._memory.read_bytes()))
            elif self._serving is None:
                self._explain(str(away))
            self._stopping.wait(WAIT)
        else:
            self._adopt()

    def _read(self, wait: float) -> bool:
        if not self._after:
            self._after = {partition: first - 1 for partition, (first, _) in self._bus.bounds([VERSIONS.name]).items()}
        entries = self._bus.read(self._after, limit=1000, wait=wait)
        for entry in entries:
            try:
                self._versions = step(self._versions, decode(entry.value))
            except EventUnreadable as error:
                log.warning("%s at offset %d: %s; passed over", VERSIONS.name, entry.offset, error)
            self._after[entry.partition] = entry.offset
        return bool(entries)

    def _adopt(self) -> None:
        champion = (self._versions.champion, self._versions.champion_policy)
        if champion == self._serving:
            return
        self._let_serve(*champion)
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        new = self._memory.with_suffix(".new")
        new.write_bytes(orjson.dumps(champion))
        new.replace(self._memory)

    def _let_serve(self, name: str, policy: str | None) -> None:
        self._install(name, None if policy is None else self._artifacts.get(policy))
        log.info("%s serves", name)
        self._serving = (name, policy)

    def _hesitate(self, error: Exception) -> None:
        kind = "its policy is missing" if isinstance(error, ArtifactError) else "it cannot be loaded"
        log.error("the champion does not serve yet, %s: %s", kind, error)
        self._explain(str(error))
        self._stopping.wait(AGAIN)
