"""Which version serves: reads the life of the versions, loads the champion's policy from the artifact store, and hands it to the backend.

One thread does it all, first at the start and then whenever the fold says another champion; candidates are answered by the one before
meanwhile. Where the champion cannot be loaded, the champion before it serves, at last the base model; the champion is tried again, since
another machine's artifact may be on its way.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, ConfigurationError, FeedbackLoopError, Overloaded
from storage.events import Event
from streams.bus.protocol import Bus, Partition
from streams.bus.quarantine import decoded
from streams.evaluations import KINDS, TOPICS, RunArtifacts, lives_of
from streams.versions import BASE, Versions

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
        self._events: list[Event] = []  # of KINDS, in the order of the log
        self._kept = RunArtifacts(artifacts)
        self._versions = Versions()
        self._after: dict[Partition, int] = {}
        self._serving: tuple[str, str | None] | None = None
        self._try_again_at = 0.0
        self._said = ""
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
                    self._explain(str(error))
                    self._give_up(error)
                    return
                self._hesitate(error)
            except FeedbackLoopError as error:
                self._hesitate(error)
            except Exception as error:
                log.exception("following the champion failed")
                self._hesitate(error)

    def _look(self, wait: float) -> None:
        """Adopt whom the log says. If the log is away, candidates do not wait for it: the last known champion keeps serving."""
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
            bounds = self._bus.bounds([topic.name for topic in TOPICS])
            self._after = {partition: first - 1 for partition, (first, _) in bounds.items()}
        entries = self._bus.read(self._after, limit=1000, wait=wait)
        batch = decoded(entries, "serving")  # as every reader: what the hub sets aside counts for nobody
        for one in batch.unreadable:
            log.warning("%s at offset %d: %s; passed over", one.topic, one.offset, one.reason)
        fresh = [event for _, event in batch.events if isinstance(event, KINDS)]
        self._events += fresh
        self._after.update(batch.upto)
        if fresh or self._versions.illegal:  # what was refused for want of its report may have it now
            self._versions = lives_of(self._events, self._kept)
        if batch.too_new:
            self._adopt()
            raise batch.too_new
        return bool(entries)

    def _adopt(self) -> None:
        """Let the champion serve, or the best of those before it that can be loaded."""
        wanted = [(name, self._policy_of(name)) for name in reversed(self._versions.champions)]
        if self._serving == wanted[0] or (self._serving in wanted and time.monotonic() < self._try_again_at):
            return
        self._try_again_at = time.monotonic() + AGAIN
        for candidate in wanted:
            if candidate == self._serving:
                return
            try:
                self._let_serve(*candidate)
            except FeedbackLoopError as error:
                if candidate == wanted[-1]:
                    raise
                self._say_why_not(candidate[0], error)
            else:
                self._remember(candidate)
                return

    def _say_why_not(self, name: str, error: FeedbackLoopError) -> None:
        """Once for each reason, however often it is tried again."""
        kind = "its policy is missing" if isinstance(error, ArtifactError) else "it cannot be loaded"
        said = f"champion {name} does not serve, {kind}: {error}; the champion before it serves"
        if said != self._said:
            log.error("%s", said)
            self._said = said

    def _policy_of(self, name: str) -> str | None:
        return None if name == BASE else self._versions.versions[name].evaluated.policy

    def _remember(self, serving: tuple[str, str | None]) -> None:
        new = self._memory.with_suffix(".new")
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(orjson.dumps(serving))
            new.replace(self._memory)
        except OSError as error:  # a full disk: it serves all the same
            log.warning("%s serves, and a start while the log is away will not know it: %s", serving[0], error)

    def _let_serve(self, name: str, policy: str | None) -> None:
        self._install(name, None if policy is None else self._artifacts.get(policy))
        log.info("%s serves", name)
        self._serving = (name, policy)

    def _hesitate(self, error: Exception) -> None:
        kind = "its policy is missing" if isinstance(error, ArtifactError) else "it cannot be loaded"
        log.error("the champion does not serve yet, %s: %s", kind, error)
        self._explain(str(error))
        self._stopping.wait(AGAIN)
