"""Which queued request joins a running batch: candidates first, second responses in slots that no candidate is waiting for.

Second responses take at most half of the slots: an extra row adds little to a decoding step, and a server under constant load still
produces pairs.
"""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from serving.models.backend import Unavailable

# torch and transformers take seconds to import: the thread that loads the first policy imports them while /healthz already answers
if TYPE_CHECKING:
    from trainers.models.engine import Batch
    from trainers.models.policy import Policy
    from trainers.models.sampler import Draw

MAX_ADMITTED = 8  # requests admitted per decoding step; prefilling more would stall the running batch


@dataclass(frozen=True, eq=False)
class Served:
    """A policy and the name of the version it serves as.

    Raises
    ------
    ConfigurationError
        The policy cannot be batched.
    """

    version: str
    policy: "Policy"

    def __post_init__(self) -> None:
        from trainers.models.engine import check_layers

        check_layers(self.policy)


@dataclass(frozen=True)
class Policies:
    """The policies that reply: the champion's, and the challenger's during its duel."""

    champion: Served
    challenger: Served | None = None

    def named(self, version: str | None) -> Served | None:
        """The champion for None, else the challenger if it has that name."""
        if version is None:
            return self.champion
        return self.challenger if self.challenger is not None and self.challenger.version == version else None


class Asked(NamedTuple):
    """A queued request, and the challenger that is to reply to it; None for the champion, whichever it is when its turn comes."""

    draw: "Draw"
    version: str | None


class Scheduler:
    """The queues (candidates, and ``patient`` second responses) and the running batches, one for each policy."""

    def __init__(self, capacity: int) -> None:
        self.waiting: deque[Asked] = deque()
        self.patient: deque[Asked] = deque()
        self.batches: list[Batch] = []
        self._capacity = capacity
        self._joining: list[Draw] = []
        self._second_responses: list[Draw] = []  # in the running batches

    def busy(self) -> bool:
        return bool(self.waiting or self.patient) or any(batch.draws for batch in self.batches)

    def step(self, policies: Policies) -> None:
        """Admit queued requests to the batches of their policies, then decode one token for every row."""
        joining = self._newcomers()
        self._joining = [asked.draw for asked in joining]
        for served in (policies.champion, policies.challenger):
            if served is not None and (own := [each.draw for each in joining if policies.named(each.version) is served]):
                self._batch_of(served).admit(own)
        for draw, version in joining:
            if policies.named(version) is None:
                draw.deliver(Unavailable(f"{version} does not reply: its duel has ended, or it is not loaded"))
        self._joining = []
        for batch in self.batches:
            batch.step()
        current = [served.policy for served in (policies.champion, policies.challenger) if served is not None]
        self.batches = [batch for batch in self.batches if batch.draws or any(batch.policy is policy for policy in current)]

    def _batch_of(self, served: Served) -> "Batch":
        from trainers.models.engine import Batch

        for batch in self.batches:
            if batch.policy is served.policy:
                return batch
        self.batches.append(Batch(served.policy, self._capacity, served.version))
        return self.batches[-1]

    def _newcomers(self) -> list[Asked]:
        room = min(MAX_ADMITTED, self._capacity - sum(len(batch.draws) for batch in self.batches))
        joining = [self.waiting.popleft() for _ in range(min(room, len(self.waiting)))]
        self._second_responses = [draw for draw in self._second_responses if not draw.cancelled]
        if not self.waiting:
            slots = min(room - len(joining), max(1, self._capacity // 2) - len(self._second_responses))
            second_responses = [self.patient.popleft() for _ in range(min(slots, len(self.patient)))]
            self._second_responses += [asked.draw for asked in second_responses]
            joining += second_responses
        return [asked for asked in joining if not asked.draw.cancelled]

    def fail(self, error: Exception) -> None:
        """Deliver ``error`` to every running request and drop the batches."""
        for draw in [*self._joining, *(draw for batch in self.batches for draw in batch.draws)]:
            draw.deliver(error)
        self.batches, self._joining, self._second_responses = [], [], []
