"""Everything that can go wrong in a way that somebody can act on.

::

    FeedbackLoopError
    ├── ConfigurationError      a setting, file or argument is wrong; the person who started the program mends it (exit code 2)
    │   ├── ModelNotFound       a model folder or id that is not there
    │   ├── PortInUse           another program listens there
    │   └── NotReachable        a hub or server that this command needs does not answer
    ├── InputRefused            what a client sent is not acceptable (4xx, names the field)
    ├── Overloaded              the log takes or gives nothing just now, or the local one has reached its bound (503 with Retry-After)
    ├── EventError              something on the bus
    │   ├── EventUnreadable     bytes that are no event: quarantine, go on
    │   ├── SchemaTooNew        written by a newer program: the reader stops and says so
    │   └── OffsetLost          the log no longer holds what was asked for: replay
    ├── WarehouseError          the warehouse and the log disagree, or another process holds the file
    ├── ArtifactError           an artifact is missing or does not have the hash that names it
    ├── TrainingError           a run cannot go on; names the stage
    │   └── DataRefused         the snapshot failed an expectation, or holds too little to train on
    └── UpstreamError           the language model behind the chat API failed (502)
"""


class FeedbackLoopError(Exception):
    """Base of all; the message says what was wrong, with the value, and what to do."""


class ConfigurationError(FeedbackLoopError):
    """A setting, file or argument is wrong."""


class ModelNotFound(ConfigurationError):
    """A model folder or id that is not there."""


class PortInUse(ConfigurationError):
    """Another program listens on that port."""


class NotReachable(ConfigurationError):
    """A server that this command needs does not answer."""


class InputRefused(FeedbackLoopError):
    """What a client sent is not acceptable. ``field`` names the part at fault."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Overloaded(FeedbackLoopError):
    """The log takes or gives nothing just now, or the local one has reached its bound; try again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EventError(FeedbackLoopError):
    """Something on the bus."""


class EventUnreadable(EventError):
    """Bytes that are no event."""


class SchemaTooNew(EventError):
    """An event written by a newer program."""


class OffsetLost(EventError):
    """The log no longer holds the offset that was asked for."""


class WarehouseError(FeedbackLoopError):
    """The warehouse and the log disagree, or another process holds the file."""


class ArtifactError(FeedbackLoopError):
    """An artifact is missing or does not have the hash that names it."""


class TrainingError(FeedbackLoopError):
    """A run cannot go on."""


class DataRefused(TrainingError):
    """The snapshot failed an expectation, or holds too little to train on."""


class UpstreamError(FeedbackLoopError):
    """The language model behind the chat API failed."""
