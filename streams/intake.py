"""The one door for what people send: validate, pseudonymise, publish. API, dashboard and import all come through it.

What a method returns is durable; what it refuses left nothing behind. From here events travel on the bus to the stations of ``streams``.
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
    Identifier,
    JudgmentGiven,
    Message,
    Name,
    PairDrawn,
    Prompt,
    ReplySent,
    Response,
    ResponseRated,
    Sampling,
    Source,
    Text,
    new_id,
    now,
    problems,
)
from storage.strata import conversation_of, stratum_of
from streams.bus.protocol import Outlet, records_of
from streams.caps import Ballots
from streams.pseudonyms import Role, pseudonym
from streams.settings import FeedbackCaps

MAX_PROMPT = 200_000  # characters over all messages
TIMEOUT = 5.0  # seconds that a client waits for the log before it is told to come again
AHEAD = timedelta(minutes=5)  # by which clocks may differ

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
    """Turns what clients send into events on ``outlet``; pseudonyms and the split into strata are made with ``key``.

    Every method raises ``InputRefused``, naming the field, for what is not acceptable, and ``Overloaded`` when the log does not take it.
    """

    def __init__(self, outlet: Outlet, key: bytes, caps: FeedbackCaps | None = None) -> None:
        self._outlet = outlet
        self._key = key
        self._ballots = Ballots(caps or FeedbackCaps())

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
        """The chatbot answered ``candidate`` (the product's own id, kept as a pseudonym)."""
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
        """Two different responses to one prompt. Without a conversation the prompt stands for it."""
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
        """What ``recruiter`` (a name or id, kept as a pseudonym) says of a pair, which need not have arrived yet.

        ``caller`` is the network address that it came from; how much is taken from one is bounded (``streams.caps``).
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
        self._ballots.admit(event.pair_id, event.recruiter, caller)
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
        """A thumb on one reply of a conversation; on its last one where ``reply_id`` is absent."""
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
        """A recruiter rewrote a reply: a pair of the original and the rewrite, judged for the rewrite, published together."""
        author = self.pseudonym("recruiter", recruiter)
        before = _checked(_RESPONSE, original, "original")
        after = Response(text=_checked(_TEXT, edited, "edited"), version=author)
        if before.text == after.text:
            raise InputRefused("edited: the same text as the original; there is nothing to learn", "edited")
        pair = make_pair(self._key, prompt=prompt, a=before, b=after, conversation_id=conversation_id, drawn="edited", source=source)
        judgment = make_judgment(pair_id=pair.pair_id, recruiter=author, choice="B", reason=reason, source=source)
        self.publish([pair, judgment])
        return pair, judgment

    def publish(self, events: Sequence[Event]) -> None:
        """Make events that were validated here durable, all together. One that is stamped in the future is refused: its clock is wrong."""
        for event in events:
            if event.occurred_at > now() + AHEAD:
                stamp = f"{event.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
                raise InputRefused(f"occurred_at: {stamp} lies in the future; set the clock right that gave it", "occurred_at")
        self._outlet.publish(records_of(events), timeout=TIMEOUT)

    def pseudonym(self, role: Role, name: str) -> str:
        """``r-…`` for a recruiter, ``c-…`` for a candidate: the same for the same name, and not to be turned back without the key."""
        return pseudonym(self._key, role, _checked(_NAME, name, role))


def messages(prompt: Messages) -> tuple[Message, ...]:
    """The prompt's messages, or ``InputRefused`` naming the part at fault."""
    checked = _checked(_PROMPT, prompt, "prompt")
    size = sum(len(message.content) for message in checked)
    if size > MAX_PROMPT:
        raise InputRefused(f"prompt: {size:,} characters over all messages; at most {MAX_PROMPT:,} are taken", "prompt")
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
    """A checked pair that is not published yet; its stratum under the installation's ``key``."""
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
    """A checked judgment by a ``recruiter`` who is a pseudonym already; not published yet."""
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


def _event(kind: type[Kind], **fields: Any) -> Kind:
    # field by field to JSON, so that one that has no place in JSON is named
    sent = b",".join(b'"%b":%b' % (name.encode(), _json(value, name)) for name, value in fields.items())
    return _judged(kind.model_validate_json, b"{" + sent + b"}", "")


def _checked(adapter: TypeAdapter[Value], value: Any, name: str) -> Value:
    return _judged(adapter.validate_json, _json(value, name), name)


def _judged(validate: Callable[..., Value], sent: bytes, name: str) -> Value:
    """What was sent, judged strictly and as it would be on the wire: there "3" is no number."""
    try:
        return validate(sent, strict=True)
    except ValidationError as error:
        complaints = error.errors(include_url=False, include_input=False)
        # a complaint without a place is JudgmentGiven's own: it says nothing
        fields = [".".join(map(str, (*([name] if name else []), *c["loc"]))) or "choice" for c in complaints]
        said = problems({"loc": (field,), "msg": c["msg"]} for field, c in zip(fields, complaints, strict=True))
        raise InputRefused(said, fields[0]) from error


def _json(value: Any, name: str) -> bytes:
    try:
        return to_json(value, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise InputRefused(f"{name}: {str(error)[:200]}", name) from error
