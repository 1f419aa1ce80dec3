"""Events from client requests, validated as strictly as on the wire; ``streams.intake`` and the import publish them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from storage.errors import InputRefused
from storage.events import (
    Event,
    Finite,
    Identifier,
    JudgmentGiven,
    Message,
    Name,
    OutcomeRecorded,
    PairDrawn,
    Prompt,
    Response,
    Source,
    Text,
    derived_id,
    new_id,
    now,
    problems,
)
from storage.strata import conversation_of, stratum_of
from streams.asking import AskingSettings, asking_of
from streams.pseudonyms import pseudonym

MAX_PROMPT = 200_000  # characters over all messages
MAX_CLOCK_SKEW = timedelta(minutes=5)
AUTHOR = "recruiter:"  # in a version, before the name of the recruiter who wrote the response

Messages = Sequence[Message | Mapping[str, Any]]
Answer = Response | Mapping[str, Any]
Kind = TypeVar("Kind", bound=Event)
Value = TypeVar("Value")

_HIDDEN = ConfigDict(hide_input_in_errors=True)
PROMPT: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Prompt, config=_HIDDEN)
RESPONSE = TypeAdapter(Response)
TEXT: TypeAdapter[str] = TypeAdapter(Text, config=_HIDDEN)
NAME: TypeAdapter[str] = TypeAdapter(Name, config=_HIDDEN)
IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier, config=_HIDDEN)
ID = TypeAdapter(UUID)
NUMBER: TypeAdapter[float] = TypeAdapter(Finite)


def messages(prompt: Messages) -> tuple[Message, ...]:
    """Validate the prompt's messages; ``InputRefused`` names the invalid part."""
    checked = checked_as(PROMPT, prompt, "prompt")
    size = sum(len(message.content) for message in checked)
    if size > MAX_PROMPT:
        raise InputRefused(f"prompt: {size:,} characters over all messages; the limit is {MAX_PROMPT:,}", "prompt")
    return checked


def make_pair(
    key: bytes,
    *,
    prompt: Messages,
    a: Answer,
    b: Answer,
    conversation_id: str | None = None,
    drawn: str,
    probability: float = 1.0,
    pair_id: UUID | str | None = None,
    event_id: UUID | None = None,
    source: Source,
    asking: AskingSettings,
    priority: int = 0,
    opinions: int | None = None,
) -> PairDrawn:
    """A validated pair, not published; its stratum, how it is asked and a derived conversation id depend on the installation's ``key``."""
    checked = messages(prompt)
    conversation = conversation_of(checked, key) if conversation_id is None else checked_as(IDENTIFIER, conversation_id, "conversation_id")
    fixed = {} if event_id is None else {"event_id": event_id}
    identity = new_id() if pair_id is None else checked_as(ID, pair_id, "pair_id")
    stratum = stratum_of(conversation, key)
    asked = asking_of(identity, drawn, stratum, asking, key)
    pair = event_of(
        PairDrawn,
        pair_id=identity,
        conversation_id=conversation,
        prompt=checked,
        a=authored(key, a, "a"),
        b=authored(key, b, "b"),
        drawn=drawn,
        probability=probability,
        stratum=stratum,
        source=source,
        arm=asked.arm,
        priority=priority,
        opinions=asked.opinions if opinions is None else opinions,
        **fixed,
    )
    if pair.a.text == pair.b.text:
        raise InputRefused("b: the same text as a; there is nothing to prefer", "b")
    return pair


def authored(key: bytes, answer: Answer, at: str) -> Response:
    """The response; where its version is ``AUTHOR`` and a recruiter's name, with that recruiter's pseudonym instead."""
    response = checked_as(RESPONSE, answer, at)
    if not response.version.startswith(AUTHOR):
        return response
    name = checked_as(NAME, response.version.removeprefix(AUTHOR), f"{at}.version")
    return response.model_copy(update={"version": pseudonym(key, "recruiter", name)})


def make_judgment(
    *,
    pair_id: UUID | str,
    recruiter: str,
    choice: str | None,
    objectives: Mapping[str, str] | None = None,
    strength: int | None = None,
    reason: str | None = None,
    shown_first: str | None = None,
    seconds: float | None = None,
    counts: bool = True,
    event_id: UUID | None = None,
    source: Source,
) -> JudgmentGiven:
    """A validated judgment, not published; ``recruiter`` is already a pseudonym."""
    fixed = {} if event_id is None else {"event_id": event_id}
    return event_of(
        JudgmentGiven,
        pair_id=pair_id,
        recruiter=recruiter,
        choice=choice,
        objectives=objectives or {},
        strength=strength,
        reason=reason,
        shown_first=shown_first,
        seconds=seconds,
        counts=counts,
        source=source,
        **fixed,
    )


def make_outcome(candidate: str, outcome: Mapping[str, Any], source: Source, event_id: UUID) -> OutcomeRecorded:
    """The event of a decision about ``candidate``, given as a pseudonym."""
    given = {name: value for name, value in outcome.items() if value is not None}
    same = derived_id("outcome", candidate, given.get("position"), given.get("stage"))
    try:
        fixed = {"event_id": event_id, "candidate": candidate, "source": source}
        event = event_of(OutcomeRecorded, **{"outcome_id": str(same), "decided_at": now()} | given, **fixed)
    except InputRefused as error:
        raise InputRefused(f"outcome.{error}", f"outcome.{error.field}") from error
    if event.decided_at > now() + MAX_CLOCK_SKEW:
        raise InputRefused("outcome.decided_at: lies in the future; give the time at which the decision was made", "outcome.decided_at")
    return event


def event_of(kind: type[Kind], **fields: Any) -> Kind:
    try:
        sent = to_json(fields, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        for name, value in fields.items():
            _json(value, name)  # raises for the field that JSON cannot represent
        raise InputRefused(f"the request is nested too deeply ({error})") from error
    return _validated(kind.model_validate_json, sent, "")


def checked_as(adapter: TypeAdapter[Value], value: Any, name: str) -> Value:
    return _validated(adapter.validate_json, _json(value, name), name)


def _validated(validate: Callable[..., Value], sent: bytes, name: str) -> Value:
    """Validate strictly, as on the wire: the string "3" is not a number."""
    try:
        return validate(sent, strict=True)
    except ValidationError as error:
        complaints = error.errors(include_url=False, include_input=False)
        # an error without a location comes from JudgmentGiven's model validator: the judgment is empty
        fields = [".".join(map(str, (*([name] if name else []), *c["loc"]))) or "choice" for c in complaints]
        message = problems({"loc": (field,), "msg": c["msg"]} for field, c in zip(fields, complaints, strict=True))
        raise InputRefused(message, fields[0]) from error


def _json(value: Any, name: str) -> bytes:
    try:
        return to_json(value, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise InputRefused(f"{name}: {str(error)[:200]}", name) from error
