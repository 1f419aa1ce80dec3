"""Every event that travels between processes. How one is written and read stands in ``wire``.

Events are facts: frozen, UTC-stamped by the server that accepted them, JSON on the wire. They come from ``intake``, ``serving`` and the
stations of the loop, go through the bus, and end as rows in the warehouse. ``streams.topics`` says which topic carries which.
"""

import base64
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Literal, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import uuid_utils
import uuid_utils.compat
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

Source = Literal["product", "simulation", "import", "ai"]
Stratum = Literal["training", "evaluation"]
Choice = Literal["A", "B", "tie", "neither", "skip"]
Side = Literal["A", "B"]
Verdict = Literal["passed", "failed", "insufficient"]

MAX_TEXT = 65_536  # characters; far above any chat message, far below what would choke an encoder or a page


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("NUL has no place in a text")  # DuckDB and most products cut or refuse it
    return text


# One pattern could say all of it, as it does in the schema, and would take three times as long for a line.
Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_TEXT, pattern=r"^\s*[^\s\x00]"),
    AfterValidator(_without_nul),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": r"^[^\x00]*[^\s\x00][^\x00]*$"}),
]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{moment} lies outside the years 1 to 9999 in UTC") from error


class _InUTC:
    """A time with an offset, brought to UTC. Nearly all are in UTC, which pydantic sees by itself; only the others are taken to Python."""

    @staticmethod
    def __get_pydantic_core_schema__(source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        other = core_schema.no_info_after_validator_function(_utc, core_schema.datetime_schema(tz_constraint="aware"))
        return core_schema.union_schema(
            [core_schema.datetime_schema(tz_constraint=0), other],
            mode="left_to_right",
            custom_error_type="moment",
            custom_error_message="not a time with its offset from UTC, such as 2026-01-31T12:00:00Z, within the years 1 to 9999",
        )


Moment = Annotated[datetime, _InUTC]

_FLOAT32 = np.dtype("<f4")
# Nearly as quick as the quickest package, and it keeps Python's lock: what lets go of it waits beside a busy thread to get it back.
_base64: Any = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64")).validator.validate_strings


def _is_vector(text: str) -> str:
    if len(text) % 4 or "-" in text or "_" in text:  # which pydantic takes too
        raise ValueError("not base64 with '+', '/' and padding")
    try:
        raw: bytes = _base64(text)
    except ValidationError as error:
        raise ValueError("not base64") from error
    if not raw or len(raw) % 4:
        raise ValueError(f"{len(raw)} bytes are no float32 vector")
    highest = raw[3::4]  # what is not finite has all bits of its exponent set, the first seven of which stand here
    if (0x7F in highest or 0xFF in highest) and not np.isfinite(np.frombuffer(raw, _FLOAT32)).all():
        raise ValueError("a component is not finite")
    return text


Vector = Annotated[str, AfterValidator(_is_vector)]  # base64 of little-endian float32


def pack(vector: np.ndarray) -> Vector:
    """Base64 of the vector's components as little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def unpack(vector: Vector) -> np.ndarray:
    """The float32 components, shape ``(d,)``."""
    return np.frombuffer(_base64(vector), dtype="<f4")


def new_id() -> UUID:
    """A fresh UUIDv7: ids sort by the time they were made."""
    return uuid_utils.compat.uuid7()


def now() -> datetime:
    return datetime.now(UTC)


_NAMESPACE = uuid_utils.UUID(uuid5(NAMESPACE_URL, "feedbackloop").hex)


def derived_id(*parts: object) -> UUID:
    """The UUIDv5 of what an event is derived from, so that deriving it again gives the same event."""
    texts = [str(uuid_utils.UUID(int=part.int) if isinstance(part, UUID) else part) for part in parts]  # twice as quick as a UUID's own
    return UUID(int=uuid_utils.uuid5(_NAMESPACE, "\x1f".join(texts)).int)


class Part(BaseModel):
    """A value inside an event."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Part):
    role: Literal["system", "user", "assistant"]
    content: Text


Prompt = Annotated[tuple[Message, ...], Field(min_length=1, max_length=200)]


class Response(Part):
    text: Text
    version: Name  # the model version that wrote it, or the product's own name for its author


class Sampling(Part):
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1, le=8192)] = 128
    seed: int | None = None
    stop: tuple[str, ...] = ()


class GateResult(Part):
    """What one gate found: the figure, its interval, on how much evidence, against which limit.

    ``unit`` is "share", "nats", "sd" …; ``low`` and ``high`` bound the interval the gate used; ``words`` says it in plain English.
    """

    name: Identifier
    verdict: Verdict
    figure: Finite | None
    low: Finite | None
    high: Finite | None
    n: Annotated[int, Field(ge=0)]
    limit: str
    unit: str
    words: str


class Event(Part):
    """What every event has. ``occurred_at`` is the clock of the server that accepted it."""

    kind: str
    schema_version: Literal[1] = 1
    event_id: UUID = Field(default_factory=new_id)
    occurred_at: Moment = Field(default_factory=now)
    source: Source


class ReplySent(Event):
    """The chatbot answered a candidate. ``candidate`` is a pseudonym."""

    kind: Literal["ReplySent"] = "ReplySent"
    conversation_id: Identifier
    candidate: Identifier | None = None
    prompt: Prompt
    reply: Text
    version: Name
    sampling: Sampling
    stratum: Stratum


class PairDrawn(Event):
    """Two responses to one prompt are there to be judged, drawn so and with this probability."""

    kind: Literal["PairDrawn"] = "PairDrawn"
    pair_id: UUID
    conversation_id: Identifier
    prompt: Prompt
    a: Response
    b: Response
    drawn: Literal["sampled", "supplied", "edited", "imported"]
    probability: Annotated[float, Field(gt=0, le=1)]
    stratum: Stratum


class JudgmentGiven(Event):
    """What one recruiter said of one pair.

    ``choice`` is the overall one and may be absent where only single ``objectives`` were answered. ``shown_first`` is absent where nobody
    knows the order (imported records). ``counts`` says whether it moves the retraining threshold.
    """

    kind: Literal["JudgmentGiven"] = "JudgmentGiven"
    pair_id: UUID
    recruiter: Identifier
    choice: Choice | None
    objectives: dict[Identifier, Choice] = Field(default_factory=dict)
    strength: Annotated[int, Field(ge=1, le=4)] | None = None
    reason: Text | None = None
    shown_first: Side | None = None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    counts: bool = True

    @model_validator(mode="after")
    def _says_something(self) -> "JudgmentGiven":
        if self.choice is None and not self.objectives:
            raise ValueError("choice is missing: give A, B, tie, neither or skip, or at least one of objectives")
        return self


class ResponseRated(Event):
    """A thumb up or down on one reply of a conversation."""

    kind: Literal["ResponseRated"] = "ResponseRated"
    conversation_id: Identifier
    reply_id: UUID | None = None  # the ReplySent's event_id; the conversation's last reply where absent
    recruiter: Identifier
    thumb: Literal["up", "down"]
    reason: Text | None = None


class PairEmbedded(Event):
    """The feature vectors of a pair's responses, under the embedding ``embedding`` (name and hash)."""

    kind: Literal["PairEmbedded"] = "PairEmbedded"
    pair_id: UUID
    embedding: Name
    embedding_hash: Sha256
    a: Vector
    b: Vector


class HubClaimed(Event):
    """A hub takes over the numbering; readers ignore lower epochs after a higher claim."""

    kind: Literal["HubClaimed"] = "HubClaimed"
    epoch: Annotated[int, Field(ge=1)]
    hub: Identifier


class PreferenceJoined(Event):
    """Pair, features and judgment have met: the n-th entry of what the learner learns from."""

    kind: Literal["PreferenceJoined"] = "PreferenceJoined"
    epoch: Annotated[int, Field(ge=1)]
    sequence: Annotated[int, Field(ge=1)]
    judgment: JudgmentGiven
    stratum: Stratum
    embedding_hash: Sha256
    a: Vector
    b: Vector


class PreferenceRemoved(Event):
    """Entry ``removes`` no longer holds: its recruiter replaced or withdrew the judgment."""

    kind: Literal["PreferenceRemoved"] = "PreferenceRemoved"
    epoch: Annotated[int, Field(ge=1)]
    sequence: Annotated[int, Field(ge=1)]
    removes: Annotated[int, Field(ge=1)]


class EventQuarantined(Event):
    """Something on ``topic`` could not be read or handled; its first 256 kB are kept here with the hash of all of it."""

    kind: Literal["EventQuarantined"] = "EventQuarantined"
    topic: Identifier
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    reader: Identifier
    reason: str
    payload: str  # base64
    payload_hash: Sha256


class RewardUpdated(Event):
    """The reward model after entry ``sequence``, whose judgment was given at ``judged_at`` (absent in updates of older programs).

    ``judgments_before`` and ``judgments_seen`` count what moves the retraining threshold, at the previous update and at this one: pairs
    that were judged, however many people judged each.
    ``prequential_accuracy`` is the share of decisive judgments predicted right before they were learnt, over the last
    ``prequential_n`` of them.
    """

    kind: Literal["RewardUpdated"] = "RewardUpdated"
    schema_version: Literal[2] = 2  # type: ignore[assignment]
    head_id: Sha256
    sequence: Annotated[int, Field(ge=1)]
    judgments_before: Annotated[int, Field(ge=0)]
    judgments_seen: Annotated[int, Field(ge=0)]
    mean: Vector
    prequential_accuracy: Annotated[float, Field(ge=0, le=1)] | None
    prequential_log_loss: Annotated[float, Field(ge=0)] | None
    prequential_n: Annotated[int, Field(ge=0)]
    checkpoint: Sha256
    judged_at: Moment | None = None


class TrainingRequested(Event):
    """Enough was learnt (``threshold`` count or time, for the ``k``-th time), or a person asked (manual)."""

    kind: Literal["TrainingRequested"] = "TrainingRequested"
    run_id: UUID
    method: Literal["dpo"]
    threshold: Literal["count", "time", "manual"]
    k: Annotated[int, Field(ge=1)]
    through_sequence: Annotated[int, Field(ge=1)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]


class DatasetFrozen(Event):
    """The run's data, by the hash of its manifest, and the champion at that moment. The first of a run_id counts."""

    kind: Literal["DatasetFrozen"] = "DatasetFrozen"
    run_id: UUID
    snapshot: Sha256
    champion: Name
    champion_policy: Sha256 | None  # None: the configured base model itself
    challengers_before: Annotated[int, Field(ge=0)]  # verdicts spoken earlier; alpha is spent over them


class RunClaimed(Event):
    """``trainer`` runs attempt ``attempt``; the first claim of an attempt wins."""

    kind: Literal["RunClaimed"] = "RunClaimed"
    run_id: UUID
    attempt: Annotated[int, Field(ge=1)]
    trainer: Identifier


class TrainingProgress(Event):
    """A heartbeat of the run: step of steps within a stage, with its metrics (loss, reward margin, KL …)."""

    kind: Literal["TrainingProgress"] = "TrainingProgress"
    run_id: UUID
    attempt: Annotated[int, Field(ge=1)]
    stage: Identifier
    step: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=0)]
    metrics: dict[str, Finite] = Field(default_factory=dict)


class TrainingFailed(Event):
    """The attempt ended without a model, and why."""

    kind: Literal["TrainingFailed"] = "TrainingFailed"
    run_id: UUID
    attempt: Annotated[int, Field(ge=1)]
    stage: Identifier
    reason: str
    final: bool  # False: another attempt may succeed


class ModelEvaluated(Event):
    """A challenger was trained and judged against ``champion``. ``report`` and ``policy`` are artifacts."""

    kind: Literal["ModelEvaluated"] = "ModelEvaluated"
    version: Name
    run_id: UUID
    policy: Sha256
    report: Sha256
    champion: Name
    gates: Annotated[tuple[GateResult, ...], Field(min_length=1)]
    verdict: Verdict


class ReviewDecided(Event):
    """A reviewer approved or rejected a version. The name is typed in and not verified."""

    kind: Literal["ReviewDecided"] = "ReviewDecided"
    version: Name
    decision: Literal["approve", "reject"]
    reviewer: Name
    reason: Text


class ModelPromoted(Event):
    """The version is the champion from here on."""

    kind: Literal["ModelPromoted"] = "ModelPromoted"
    version: Name
    review: UUID  # the ReviewDecided that allowed it


class ModelRolledBack(Event):
    """The champion ``version`` is withdrawn; the champion before it serves again."""

    kind: Literal["ModelRolledBack"] = "ModelRolledBack"
    version: Name
    reviewer: Name
    reason: Text


EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        ReplySent,
        PairDrawn,
        JudgmentGiven,
        ResponseRated,
        PairEmbedded,
        HubClaimed,
        PreferenceJoined,
        PreferenceRemoved,
        EventQuarantined,
        RewardUpdated,
        TrainingRequested,
        DatasetFrozen,
        RunClaimed,
        TrainingProgress,
        TrainingFailed,
        ModelEvaluated,
        ReviewDecided,
        ModelPromoted,
        ModelRolledBack,
    )
}


Kind = TypeVar("Kind", bound=Event)

_set_given: Any = BaseModel.__dict__["__pydantic_fields_set__"].__set__


def forget_given(event: Event) -> None:
    """Have ``event.model_fields_set`` name every field from here on.

    All events of a kind then share one set. With a set each, the events of a batch, more than a processor's caches hold anyhow, would take
    a quarter more memory.
    """
    _set_given(event, _fields(type(event)))


@cache
def _fields(kind: type[Event]) -> set[str]:
    return set(kind.model_fields)


def assembled(kind: type[Kind], values: dict[str, Any]) -> Kind:
    """An event of all its values, which have been validated, in the order of the model.

    This is what ``model_construct`` makes, which spends three quarters of its time on aliases and defaults that we do not have. The
    numbering makes one for every judgment.
    """
    event = kind.__new__(kind)
    put = object.__setattr__  # the model is frozen
    put(event, "__dict__", values)
    forget_given(event)
    put(event, "__pydantic_extra__", None)
    put(event, "__pydantic_private__", None)
    return event


def newest_version(model: type[Event]) -> int:
    """The ``schema_version`` that this program writes."""
    version: int = model.model_fields["schema_version"].default
    return version


def problems(errors: Iterable[Any]) -> str:
    """Pydantic's complaints as one line that names each field."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'event'}: {e['msg']}" for e in errors)
