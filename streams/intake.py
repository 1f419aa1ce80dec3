"""Intake of client requests: validate, pseudonymise, redact, publish. API, dashboard and import all go through it.

Events are durable when a method returns; a refused request leaves no trace on the log. The consumers in ``streams.stations`` take it from
there.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from storage.errors import InputRefused
from storage.events import (
    Event,
    GroupsRecorded,
    Intervention,
    JudgmentGiven,
    OutcomeRecorded,
    PairDrawn,
    ReplySent,
    Response,
    ResponseRated,
    Sampling,
    Source,
    Stratum,
    now,
)
from storage.strata import stratum_of
from streams.asking import AskingSettings
from streams.bus.protocol import Outlet, records_of
from streams.caps import JudgmentLimiter
from streams.client_events import (
    IDENTIFIER,
    MAX_CLOCK_SKEW,
    NAME,
    RESPONSE,
    TEXT,
    Answer,
    Messages,
    checked_as,
    event_of,
    make_judgment,
    make_outcome,
    make_pair,
    messages,
)
from streams.privacy.redaction import Redactor
from streams.pseudonyms import Role, pseudonym
from streams.settings import FeedbackCaps

TIMEOUT = 5.0  # seconds to publish before the client gets a 503


class Intake:
    """Turns client requests into events on ``outlet``; ``key`` is the secret for pseudonyms and for the split into strata.

    Every method raises ``InputRefused``, naming the field, for invalid input, and ``Overloaded`` when the log cannot be written. The events
    that they return hold the texts as given, with which the conversation goes on; ``redactor`` removes personal data from those published.
    """

    def __init__(
        self,
        outlet: Outlet,
        key: bytes,
        caps: FeedbackCaps | None = None,
        asking: AskingSettings | None = None,
        redactor: Redactor | None = None,
    ) -> None:
        self._outlet = outlet
        self._key = key
        self._asking = asking or AskingSettings()
        self._redactor = redactor or Redactor()
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
        interventions: Sequence[Intervention] = (),
    ) -> ReplySent:
        """Record a reply of the chatbot to ``candidate`` (the product's own id, stored as a pseudonym), and what safety filters did."""
        event = event_of(
            ReplySent,
            conversation_id=conversation_id,
            candidate=None if candidate is None else self.pseudonym("candidate", candidate),
            prompt=messages(prompt),
            reply=reply,
            version=version,
            sampling=sampling,
            stratum=self.stratum(conversation_id),
            source=source,
        )
        self.publish([event, *(each.about(event) for each in interventions)])
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
        priority: int = 0,
        opinions: int | None = None,
        source: Source = "product",
    ) -> PairDrawn:
        """Record two different responses to one prompt. Without ``conversation_id``, the conversation id is derived from the prompt.

        Pairs of a higher ``priority`` (0 to 9) are asked first. ``opinions`` is how many recruiters are asked; by default as ``[asking]``
        and ``[hub]`` say.
        """
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
            asking=self._asking,
            priority=priority,
            opinions=opinions,
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
        event = event_of(
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
        before = checked_as(RESPONSE, original, "original")
        after = Response(text=checked_as(TEXT, edited, "edited"), version=author)
        if before.text == after.text:
            raise InputRefused("edited: the same text as the original; there is nothing to learn", "edited")
        pair = make_pair(
            self._key,
            prompt=prompt,
            a=before,
            b=after,
            conversation_id=conversation_id,
            drawn="edited",
            source=source,
            asking=self._asking,
        )
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
        recorded = None if groups is None else event_of(GroupsRecorded, candidate=person, groups=groups, source=source)
        decided = None if outcome is None else make_outcome(person, outcome, source)
        self.publish([event for event in (recorded, decided) if event is not None])
        return recorded, decided

    def publish(self, events: Sequence[Event]) -> None:
        """Redact and publish validated events in one call; refuses events stamped more than ``MAX_CLOCK_SKEW`` in the future."""
        for event in events:
            if event.occurred_at > now() + MAX_CLOCK_SKEW:
                stamp = f"{event.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
                raise InputRefused(f"occurred_at: {stamp} lies in the future; correct the sender's clock", "occurred_at")
        self._outlet.publish(records_of(self._redactor.logged(events)), timeout=TIMEOUT)

    def stratum(self, conversation_id: str) -> Stratum:
        """The stratum of the conversation."""
        return stratum_of(checked_as(IDENTIFIER, conversation_id, "conversation_id"), self._key)

    def pseudonym(self, role: Role, name: str) -> str:
        """``r-…`` for a recruiter, ``c-…`` for a candidate; deterministic, and not reversible without the key."""
        return pseudonym(self._key, role, checked_as(NAME, name, role))
