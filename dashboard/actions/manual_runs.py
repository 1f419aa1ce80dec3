"""A training run that a person asks for, without waiting for the threshold."""

from collections.abc import Sequence
from typing import Literal

from dashboard.actions.reviews import Conflict
from storage.events import DatasetFrozen, ModelEvaluated, Source, TrainingFailed, TrainingRequested
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Bus, records_of
from streams.runs import fold, pending
from streams.stations.trigger import by_hand

TIMEOUT = 5.0  # seconds that a person waits for the log


class RunsByHand:
    """Publishes the request; freeze and trainer answer it like any other."""

    def __init__(self, bus: Bus, warehouse: Warehouse, sources: Sequence[Source]) -> None:
        self._bus = bus
        self._warehouse = warehouse
        self._sources = tuple(sources)

    def ask(self, method: Literal["dpo"]) -> TrainingRequested:
        """Ask for a run over everything joined so far; :class:`Conflict` where nothing is, or a run waits already."""
        through = self._warehouse.last_sequence
        if not through:
            raise Conflict("nothing has been judged and joined yet; rate some pairs first")
        asked = self._warehouse.events(TrainingRequested, DatasetFrozen, TrainingFailed, ModelEvaluated)
        if (waiting := pending(fold(asked))) is not None:
            raise Conflict(f"run {waiting.run_id} waits already; it takes everything joined up to preference {waiting.through_sequence}")
        earlier = sum(isinstance(event, TrainingRequested) and event.threshold == "manual" for event in asked)
        event = by_hand(method, earlier + 1, through, self._sources)
        self._bus.publish(records_of([event]), timeout=TIMEOUT)
        return event
