"""Training runs that a person requests, without waiting for the threshold."""

from collections.abc import Callable

from access.caller import Caller, made_by
from dashboard.actions.reviews import Conflict
from storage.errors import InputRefused
from storage.events import DatasetFrozen, ModelEvaluated, TrainingFailed, TrainingRequested
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Bus, records_of
from streams.runs import fold, pending
from streams.stations.trigger import RunPlan, by_hand
from trainers.policy import methods

TIMEOUT = 5.0  # seconds to wait for the log


class ManualRuns:
    """Publishes the request; freeze and trainer handle it like any other. ``named``: whoever asks has to say their name."""

    def __init__(self, bus: Bus, warehouse: Warehouse, plan_of: Callable[[str], RunPlan], *, named: bool = False) -> None:
        self._bus, self._warehouse, self._plan_of, self._named = bus, warehouse, plan_of, named

    def ask(self, caller: Caller, method: str, requested_by: str | None = None) -> TrainingRequested:
        """Request a run by ``method`` over everything joined so far. With four eyes set, ``requested_by`` may not approve its version.

        Raises
        ------
        NotAllowed
            The caller may not review, or not under this name.
        Conflict
            Nothing is joined yet, or a run is already pending.
        InputRefused
            There is no such method.
        """
        caller.require("review")
        requested_by = caller.signs_as(requested_by, "requested_by")
        names = [row.name for row in methods.METHODS]
        if self._named and not requested_by:
            raise InputRefused(
                "requested_by: say who requests the run; by four eyes another person has to approve its version", "requested_by"
            )
        if method not in names:
            raise InputRefused(f"method: there is no {method!r}; choose one of {', '.join(names)}", "method")
        through = self._warehouse.last_sequence
        if not through:
            raise Conflict("nothing has been judged and joined yet; rate some pairs first")
        asked = self._warehouse.events(TrainingRequested, DatasetFrozen, TrainingFailed, ModelEvaluated)
        if (waiting := pending(fold(asked))) is not None:
            raise Conflict(f"run {waiting.run_id} is already pending; it covers everything up to preference {waiting.through_sequence}")
        earlier = sum(isinstance(event, TrainingRequested) and event.threshold == "manual" for event in asked)
        event = by_hand(self._plan_of(method), earlier + 1, through, requested_by)
        self._bus.publish(records_of([event, *made_by(caller, event)]), timeout=TIMEOUT)
        return event
