"""Follows the champion and the duel: folds the version events, loads policies from the artifact store, and installs them in the backend.

A champion is installed only with a valid record of its promotion (``streams.attestation.admission``).

A single thread does this, at start-up and whenever the fold yields another champion; the previous version keeps serving meanwhile. If the
champion has no valid record or cannot be loaded, the previous champions are tried in turn, down to the base model. Loading is retried,
since the record or the artifact may still be replicating from another machine.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import orjson

from storage.artifacts import Artifacts
from storage.errors import ArtifactError, AttestationError, ConfigurationError, FeedbackLoopError, Overloaded
from storage.events import Event
from streams.attestation.admission import Admission
from streams.attestation.history import record_of
from streams.bus.protocol import Bus, Partition
from streams.bus.quarantine import decoded
from streams.evaluations import KINDS, TOPICS, RunArtifacts, lives_of
from streams.versions import BASE, Versions, duelling

log = logging.getLogger(__name__)

POLL_TIMEOUT = 1.0  # seconds; bounds the delay of stop()
RETRY_INTERVAL = 5.0  # seconds between attempts to load a policy

Install = Callable[[str, Path | None], None]


class Challenger(NamedTuple):
    """The challenger of the duel: its version, its policy's hash, its opponent, and the share of conversations that it answers."""

    version: str
    policy: str
    champion: str
    share: float


class Promotions:
    """Installs the champion, and replaces it on promotion and rollback.

    Parameters
    ----------
    install : called with the version's name and its adapter folder (``None``: the configured model); may raise ``FeedbackLoopError``
    install_challenger : called with the challenger of a duel and its adapter folder; with None when the duel has ended
    explain : called with the reason while no champion is installed
    give_up : called with the :class:`ConfigurationError` if the first version cannot be installed because of a setting
    memory : file with the last champion, used at start-up if the log is down
    admission : decides by its record whether a promoted version may be served
    stand_by : called with the champion before and its adapter folder, to keep it loaded for a rollback; returns whether it did
    lost : whether what was installed is not loaded any more, so that it has to be installed again
    """

    def __init__(
        self,
        bus: Bus,
        artifacts: Artifacts,
        *,
        install: Install,
        install_challenger: Callable[[Challenger | None, Path | None], None],
        explain: Callable[[str], None],
        give_up: Callable[[ConfigurationError], None],
        memory: Path,
        admission: Admission,
        stand_by: Callable[[str, Path | None], bool] = lambda name, adapter: False,
        lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._bus = bus
        self._artifacts = artifacts
        self._install = install
        self._install_challenger = install_challenger
        self._explain = explain
        self._give_up = give_up
        self._memory = memory
        self._admission = admission
        self._stand_by = stand_by
        self._lost = lost
        self._events: list[Event] = []  # of KINDS, in the order of the log
        self._run_artifacts = RunArtifacts(artifacts)
        self._versions = Versions()
        self._after: dict[Partition, int] = {}
        self._serving: tuple[str, str | None] | None = None
        self._challenger: Challenger | None = None
        self._asked_to_stand_by: tuple[str, str | None] | None = None
        self._standing_by: tuple[str, str | None] | None = None  # verified and loaded: a rollback installs it at once
        self._standby_adapter: Path | None = None
        self._retry_at = self._retry_challenger_at = 0.0
        self._last_logged = ""
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
                self._poll(wait)
                wait = POLL_TIMEOUT
            except ConfigurationError as error:
                if self._serving is None:
                    self._explain(str(error))
                    self._give_up(error)
                    return
                self._back_off(error)
            except FeedbackLoopError as error:
                self._back_off(error)
            except Exception as error:
                log.exception("following the champion failed")
                self._back_off(error)

    def _poll(self, wait: float) -> None:
        """Read new events and install the champion. If the log is down, keep serving the last known champion."""
        if self._serving is not None and self._lost():
            self._serving = self._challenger = self._asked_to_stand_by = self._standing_by = None
            self._retry_at = self._retry_challenger_at = 0.0
        try:
            while self._read(wait):  # drain the log before loading anything
                wait = 0.0
        except Overloaded as away:
            if self._serving is None and self._memory.exists():
                log.warning("%s; serving the last known champion", away)
                name, policy, *record = orjson.loads(self._memory.read_bytes())
                self._admission.remembered(name, policy, record[0] if record else None)
                self._serve(name, policy)
            elif self._serving is None:
                self._explain(str(away))
            self._stopping.wait(POLL_TIMEOUT)
        else:
            self._install_champion()
            self._follow_duel()
            self._prepare_rollback()

    def _read(self, wait: float) -> bool:
        if not self._after:
            bounds = self._bus.bounds([topic.name for topic in TOPICS])
            self._after = {partition: first - 1 for partition, (first, _) in bounds.items()}
        entries = self._bus.read(self._after, limit=1000, wait=wait)
        batch = decoded(entries, "serving")  # the same checks as the hub's: events it quarantines are ignored here too
        for one in batch.unreadable:
            log.warning("%s at offset %d: %s; skipped", one.topic, one.offset, one.reason)
        fresh = [event for _, event in batch.events if isinstance(event, KINDS)]
        self._events += fresh
        self._after.update(batch.upto)
        if fresh or self._versions.illegal:  # an event refused because its report was missing may be valid now
            self._versions = lives_of(self._events, self._run_artifacts)
        if batch.too_new:
            self._install_champion()
            raise batch.too_new
        return bool(entries)

    def _install_champion(self) -> None:
        """Serve the champion, or else the latest previous champion that can be loaded."""
        wanted = [(name, self._policy_of(name)) for name in reversed(self._versions.champions)]
        if self._serving == wanted[0] or (self._serving in wanted and time.monotonic() < self._retry_at):
            return
        self._retry_at = time.monotonic() + RETRY_INTERVAL
        for candidate in wanted:
            if candidate == self._serving:
                return
            try:
                if candidate != self._standing_by:
                    self._admission.admit(candidate[0], self._versions)
                self._serve(*candidate)
            except FeedbackLoopError as error:
                if candidate == wanted[-1]:
                    raise
                self._log_fallback(candidate[0], error)
            else:
                self._save(candidate)
                return

    def _follow_duel(self) -> None:
        """Install the challenger while its duel goes on and the champion serves. A challenger that cannot be loaded draws no responses."""
        found = duelling(self._versions)
        wanted = None
        if found is not None and self._serving is not None and self._serving[0] == self._versions.champion:
            share = found.canary[-1].share if found.canary else 0.0
            wanted = Challenger(found.name, found.evaluated.policy, self._versions.champion, share)
        if wanted == self._challenger or (wanted is not None and time.monotonic() < self._retry_challenger_at):
            return
        self._retry_challenger_at = time.monotonic() + RETRY_INTERVAL
        try:
            self._install_challenger(wanted, None if wanted is None else self._adapter_of(wanted.policy))
        except FeedbackLoopError as error:
            log.error("challenger %s draws no second responses yet: %s", wanted.version if wanted else "", error)
            return
        if wanted is not None:
            log.info("duel: %s draws second responses, and answers %.0f %% of conversations", wanted.version, 100 * wanted.share)
        self._challenger, self._retry_challenger_at = wanted, 0.0

    def _prepare_rollback(self) -> None:
        """Verify the champion before and keep it loaded. Loading it only when it is needed took a rollback over two seconds."""
        if self._versions.previous is None or self._serving is None or self._serving[0] != self._versions.champion:
            return
        wanted = (self._versions.previous, self._policy_of(self._versions.previous))
        if wanted == self._asked_to_stand_by:
            return
        self._asked_to_stand_by, self._standing_by = wanted, None
        name, policy = wanted
        try:
            self._admission.admit(name, self._versions)
            adapter = self._adapter_of(policy)
            if self._stand_by(name, adapter):
                self._standing_by, self._standby_adapter = wanted, adapter
        except FeedbackLoopError as error:
            log.warning("a rollback to %s will be tried when it is needed, %s: %s", name, _kind_of(error), error)

    def _log_fallback(self, name: str, error: FeedbackLoopError) -> None:
        """Log each reason once, not on every retry."""
        kind = _kind_of(error)
        message = f"cannot serve champion {name}, {kind}: {error}; falling back to the previous champion"
        if message != self._last_logged:
            log.error("%s", message)
            self._last_logged = message

    def _policy_of(self, name: str) -> str | None:
        return None if name == BASE else self._versions.versions[name].evaluated.policy

    def _adapter_of(self, policy: str | None) -> Path | None:
        return None if policy is None else self._artifacts.get(policy)

    def _save(self, serving: tuple[str, str | None]) -> None:
        new = self._memory.with_suffix(".new")
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(orjson.dumps((*serving, record_of(self._versions, serving[0]))))
            new.replace(self._memory)
        except OSError as error:  # such as a full disk; serving does not depend on it
            log.warning("serving %s, but it could not be saved for a restart while the log is down: %s", serving[0], error)

    def _serve(self, name: str, policy: str | None) -> None:
        self._install(name, self._standby_adapter if (name, policy) == self._standing_by else self._adapter_of(policy))
        log.info("serving version %s", name)
        self._serving, self._asked_to_stand_by, self._standing_by = (name, policy), None, None

    def _back_off(self, error: Exception) -> None:
        if self._stopping.is_set():  # what was being loaded was given up
            return
        log.error("cannot serve the champion yet, %s: %s", _kind_of(error), error)
        self._explain(str(error))
        self._stopping.wait(RETRY_INTERVAL)


def _kind_of(error: Exception) -> str:
    if isinstance(error, AttestationError):
        return "its promotion has no valid record"
    return "its policy is missing" if isinstance(error, ArtifactError) else "it cannot be loaded"
