"""Intake of client requests: validate, pseudonymise, publish. API, dashboard and import all go through it.

Events are durable when a method returns; a refused request leaves no trace on the log. The consumers in ``streams.stations`` take it from
there.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from storage.errors import InputRefused
from storage.events import (
    Event,
    GroupsRecorded,
    Identifier,
    JudgmentGiven,
    Message,
    Name,
    OutcomeRecorded,
    PairDrawn,
    Prompt,
    ReplySent,
    Response,
    ResponseRated,
    Sampling,
    Source,
    Text,
    derived_id,
    new_id,
    now,
    problems,
)
from storage.strata import conversation_of, stratum_of
from streams.bus.protocol import Outlet, records_of
from streams.caps import JudgmentLimiter
from streams.pseudonyms import Role, pseudonym
from streams.settings import FeedbackCaps

MAX_PROMPT = 200_000  # characters over all messages
TIMEOUT = 5.0  # seconds to publish before the client gets a 503
MAX_CLOCK_SKEW = timedelta(minutes=5)

Messages = Sequence[Message | Mapping[str, Any]]
Answer = Response | Mapping[str, Any]
Kind = TypeVar("Kind", bound=Event)
Value = TypeVar("Value")

_PROMPT: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Prompt)
_RESPONSE = TypeAdapter(Response)
_TEXT: TypeAdapter[str] = TypeAdapter(Text)
_NAME: TypeAdapter[str] = TypeAdapter(Name)
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


class Intake:
    """Turns client requests into events on ``outlet``; ``key`` is the secret for pseudonyms and for the split into strata.

    Every method raises ``InputRefused``, naming the field, for invalid input, and ``Overloaded`` when the log cannot be written.
    """

    def __init__(self, outlet: Outlet, key: bytes, caps: FeedbackCaps | None = None) -> None:
        self._outlet = outlet
        self._key = key
        self._limiter = JudgmentLimiter(caps or FeedbackCaps())

    def reply(
        self,
        *,
        conversation_id: str,
        prompt: Messages,
        reply: str,
        version: str,
        sampling: Sampling | Mapping[str, Any],
        candidate: str | None = None,
        source: Source = "product",
    ) -> ReplySent:
        """Record a reply of the chatbot to ``candidate`` (the product's own id, stored as a pseudonym)."""
        event = _event(
            ReplySent,
            conversation_id=conversation_id,
            candidate=None if candidate is None else self.pseudonym("candidate", candidate),
            prompt=messages(prompt),
            reply=reply,
            version=version,
            sampling=sampling,
            stratum=stratum_of(_checked(_IDENTIFIER, conversation_id, "conversation_id"), self._key),
            source=source,
        )
        self.publish([event])
        return event

    def pair(
        self,
        *,
        prompt: Messages,
        a: Answer,
        b: Answer,
        conversation_id: str | None = None,
        drawn: str = "supplied",
        probability: float = 1.0,
        pair_id: UUID | str | None = None,
        source: Source = "product",
    ) -> PairDrawn:
        """Record two different responses to one prompt. Without ``conversation_id``, the conversation id is derived from the prompt."""
        event = make_pair(
            self._key,
            prompt=prompt,
            a=a,
            b=b,
            conversation_id=conversation_id,
            drawn=drawn,
            probability=probability,
            pair_id=pair_id,
            source=source,
        )
        self.publish([event])
        return event

    def judgment(
        self,
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
        source: Source = "product",
        caller: str = "",
    ) -> JudgmentGiven:
        """Record a judgment by ``recruiter`` (a name or id, stored as a pseudonym) of a pair, which need not have arrived yet.

        ``caller`` is the network address of the client, for rate limits (``streams.caps``).
        """
        event = make_judgment(
            pair_id=pair_id,
            recruiter=self.pseudonym("recruiter", recruiter),
            choice=choice,
            objectives=objectives,
            strength=strength,
            reason=reason,
            shown_first=shown_first,
            seconds=seconds,
            counts=counts,
            source=source,
        )
        self._limiter.admit(event.pair_id, event.recruiter, caller)
        self.publish([event])
        return event

    def rating(
        self,
        *,
        conversation_id: str,
        recruiter: str,
        thumb: str,
        reply_id: UUID | str | None = None,
        reason: str | None = None,
        source: Source = "product",
    ) -> ResponseRated:
        """Record a thumb on one reply of a conversation, on the last one if ``reply_id`` is absent."""
        event = _event(
            ResponseRated,
            conversation_id=conversation_id,
            reply_id=reply_id,
            recruiter=self.pseudonym("recruiter", recruiter),
            thumb=thumb,
            reason=reason,
            source=source,
        )
        self.publish([event])
        return event

    def edit(
        self,
        *,
        prompt: Messages,
        original: Answer,
        edited: str,
        recruiter: str,
        reason: str | None = None,
        conversation_id: str | None = None,
        source: Source = "product",
    ) -> tuple[PairDrawn, JudgmentGiven]:
        """Record a recruiter's rewrite of a reply as a pair (original, rewrite) and a judgment for the rewrite, published together."""
        author = self.pseudonym("recruiter", recruiter)
        before = _checked(_RESPONSE, original, "original")
        after = Response(text=_checked(_TEXT, edited, "edited"), version=author)
        if before.text == after.text:
            raise InputRefused("edited: the same text as the original; there is nothing to learn", "edited")
        pair = make_pair(self._key, prompt=prompt, a=before, b=after, conversation_id=conversation_id, drawn="edited", source=source)
        judgment = make_judgment(pair_id=pair.pair_id, recruiter=author, choice="B", reason=reason, source=source)
        self.publish([pair, judgment])
        return pair, judgment

    def outcome(
        self,
        *,
        candidate: str,
        groups: Mapping[str, str] | None = None,
        outcome: Mapping[str, Any] | None = None,
        source: Source = "product",
    ) -> tuple[GroupsRecorded | None, OutcomeRecorded | None]:
        """Record the groups of ``candidate`` (the product's own id, stored as a pseudonym), a decision about the candidate, or both.

        ``outcome`` has the keys ``position``, ``stage`` and ``selected``, and optionally ``score``, ``decided_at`` (default: now) and
        ``outcome_id`` (default: derived from candidate, position and stage, so that a repeat is not counted twice).
        """
        if groups is None and outcome is None:
            raise InputRefused("outcome: give groups, an outcome or both", "outcome")
        person = self.pseudonym("candidate", candidate)
        recorded = None if groups is None else _event(GroupsRecorded, candidate=person, groups=groups, source=source)
        decided = None if outcome is None else _decided(person, outcome, source)
        self.publish([event for event in (recorded, decided) if event is not None])
        return recorded, decided

    def publish(self, events: Sequence[Event]) -> None:
        """Publish validated events in one call; refuses events stamped more than ``MAX_CLOCK_SKEW`` in the future."""
        for event in events:
            if event.occurred_at > now() + MAX_CLOCK_SKEW:
                stamp = f"{event.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
                raise InputRefused(f"occurred_at: {stamp} lies in the future; correct the sender's clock", "occurred_at")
        self._outlet.publish(records_of(events), timeout=TIMEOUT)

    def pseudonym(self, role: Role, name: str) -> str:
        """``r-…`` for a recruiter, ``c-…`` for a candidate; deterministic, and not reversible without the key."""
        return pseudonym(self._key, role, _checked(_NAME, name, role))


def messages(prompt: Messages) -> tuple[Message, ...]:
    """Validate the prompt's messages; ``InputRefused`` names the invalid part."""
    checked = _checked(_PROMPT, prompt, "prompt")
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
) -> PairDrawn:
    """A validated pair, not published; its stratum depends on the installation's ``key``."""
    checked = messages(prompt)
    conversation = conversation_of(checked) if conversation_id is None else _checked(_IDENTIFIER, conversation_id, "conversation_id")
    fixed = {} if event_id is None else {"event_id": event_id}
    pair = _event(
        PairDrawn,
        pair_id=new_id() if pair_id is None else pair_id,
        conversation_id=conversation,
        prompt=checked,
        a=a,
        b=b,
        drawn=drawn,
        probability=probability,
        stratum=stratum_of(conversation, key),
        source=source,
        **fixed,
    )
    if pair.a.text == pair.b.text:
        raise InputRefused("b: the same text as a; there is nothing to prefer", "b")
    return pair


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
    return _event(
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


def _decided(candidate: str, outcome: Mapping[str, Any], source: Source) -> OutcomeRecorded:
    """The event of a decision about ``candidate``, given as a pseudonym."""
    given = {name: value for name, value in outcome.items() if value is not None}
    same = derived_id("outcome", candidate, given.get("position"), given.get("stage"))
    try:
        event = _event(OutcomeRecorded, **{"outcome_id": str(same), "decided_at": now()} | given, candidate=candidate, source=source)
    except InputRefused as error:
        raise InputRefused(f"outcome.{error}", f"outcome.{error.field}") from error
    if event.decided_at > now() + MAX_CLOCK_SKEW:
        raise InputRefused("outcome.decided_at: lies in the future; give the time at which the decision was made", "outcome.decided_at")
    return event


def _event(kind: type[Kind], **fields: Any) -> Kind:
    # serialise field by field, so that the error names the field that JSON cannot represent
    sent = b",".join(b'"%b":%b' % (name.encode(), _json(value, name)) for name, value in fields.items())
    return _validated(kind.model_validate_json, b"{" + sent + b"}", "")


def _checked(adapter: TypeAdapter[Value], value: Any, name: str) -> Value:
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
