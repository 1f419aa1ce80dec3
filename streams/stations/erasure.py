"""Destroys the keys of erased people's texts, once the sink has deleted their rows.

The warehouse says which keys these are, and the snapshot of each run whether its report and replies may hold texts of erased people. At its
start the station destroys all of them again, so that a crash in between, or a key store that was restored from an older backup, leaves
nothing readable.
"""

import logging
import threading
from collections.abc import Iterator

from storage.artifacts import Artifacts
from storage.events import ModelEvaluated, PersonErased, TrainingFailed
from storage.texts.texts import Texts
from storage.warehouse.entries import Applied
from storage.warehouse.warehouse import Warehouse
from streams.erasure import TrainedOn, erased_names, trained_on
from streams.stations.contexts import HubContext
from trainers.runs.texts import run_kid

log = logging.getLogger(__name__)


def build(context: HubContext) -> "Erasure":
    """The station of the table's row."""
    return Erasure(context.warehouse, context.artifacts, context.texts, context.stop)


class Erasure:
    """Runs at its start, after each commit that erased something, and when a run has made an artifact since."""

    def __init__(self, warehouse: Warehouse, artifacts: Artifacts, texts: Texts, stop: threading.Event) -> None:
        self._warehouse, self._artifacts, self._texts, self._stop = warehouse, artifacts, texts, stop
        self._due = threading.Event()
        self._due.set()
        self._destroyed: set[str] = set()
        self.lost: int | None = None

    def wake_for(self, applied: Applied) -> None:
        if applied.dropped or any(isinstance(event, PersonErased | ModelEvaluated | TrainingFailed) for event in applied.stored):
            self._due.set()

    def step(self, wait: float) -> None:
        if not self._due.wait(wait) or self._stop.is_set():
            return
        self._due.clear()
        try:
            fresh = self._erased_keys() - self._destroyed
            names = erased_names(self._warehouse)
            of_runs = {kid for run in trained_on(self._warehouse, self._artifacts, names) for kid in _keys_of(run)}
            if fresh or of_runs:
                self._texts.destroy(fresh | of_runs)  # a run that was going on has made its key again
            if fresh:
                log.info("destroyed the keys of %d erased texts", len(fresh))
        except BaseException:
            self._due.set()
            raise
        self._destroyed |= fresh
        if self.lost is None:
            self.lost = len(lost_keys(self._warehouse, self._texts))

    def close(self) -> None:
        """No-op: what was not destroyed is due again at the next start."""

    @property
    def settled(self) -> bool:
        """Whether the keys of everything that is erased in the warehouse are destroyed."""
        return self._erased_keys() <= self._destroyed

    @property
    def problem(self) -> str | None:
        """How many texts cannot be read although nobody asked to erase them, as of the start."""
        if not self.lost:
            return None
        return f"{self.lost} keys of sealed texts are lost: these texts cannot be read; restore {self._texts.keys_place} from a backup"

    def _erased_keys(self) -> set[str]:
        return set(self._warehouse.query("erased_keys")["name"].to_pylist())


def _keys_of(run: TrainedOn) -> Iterator[str]:
    """The keys of the run's texts that are erased with the rows of its snapshot."""
    yield run_kid(run.run_id, "replies")
    if run.prompts:
        yield run_kid(run.run_id, "report")


def lost_keys(warehouse: Warehouse, texts: Texts) -> set[str]:
    """The keys of stored texts that are not in the key store. The rows of erased people are gone, so these are none of theirs."""
    return texts.lost(row["kid"] for row in warehouse.query("text_keys").to_pylist())
