"""The newest checkpoint of the online head, for processes that predict with it but do not learn."""

from pathlib import Path

from storage.artifacts import Artifacts
from storage.settings import Settings
from streams.bus.kafka_settings import is_kafka
from streams.bus.protocol import Bus
from streams.stations.head_checkpoints import UPLOAD_EVERY, HeadCheckpoints, last_update
from trainers.reward.online.head import Head


class CurrentHead:
    """The head that the newest reward update names: from the learner's folder on this machine, or else from the artifact store.

    The store gets a checkpoint every ``UPLOAD_EVERY`` numbers, so it is searched again only after as many.
    """

    def __init__(self, bus: Bus, folder: Path, artifacts: Artifacts | None) -> None:
        self._bus, self._folder, self._artifacts = bus, folder, artifacts
        self._known: tuple[object, Head | None] | None = None  # what identifies the checkpoint, and its head

    @classmethod
    def of(cls, settings: Settings, bus: Bus) -> "CurrentHead":
        common = settings.common
        artifacts = Artifacts(common.artifacts_url) if is_kafka(common.bus_url) else None
        return cls(bus, common.home / "learner", artifacts)

    def newest(self, *, history: bool = False) -> Head | None:
        """The head; without ``history`` it can predict only. None if nothing was learnt, or no checkpoint has reached this machine.

        Raises
        ------
        Overloaded
            The log cannot be read.
        """
        update = last_update(self._bus)
        if update is None:
            return None
        checkpoints = HeadCheckpoints(self._folder, update.head_id, self._artifacts)
        if history:
            return checkpoints.newest(self._bus)
        key = update.checkpoint if checkpoints.are_here else (update.head_id, update.sequence // UPLOAD_EVERY)
        if self._known is None or self._known[0] != key:
            self._known = key, checkpoints.newest(self._bus, history=False)
        return self._known[1]
