"""Intake of client requests: validate, pseudonymise, redact, seal, publish. API, dashboard and import all go through it.

Events are durable when a method returns; a refused request leaves no trace on the log. The consumers in ``streams.stations`` take it from
there.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from storage.errors import InputRefused, NotAllowed
from storage.events import (
    Event,
    GroupsRecorded,
    Intervention,
    InterventionMade,
    JudgmentGiven,
    OutcomeRecorded,
    PairDrawn,
    ReplySent,
    Response,
    ResponseEdited,
    ResponseRated,
    Sampling,
    Source,
    Stratum,
    derived_id,
    new_id,
    now,
)
from storage.strata import digest_of, stratum_of
from streams.asking import AskingSettings
from streams.bus.protocol import Outlet, Record, records_of
from streams.caps import JudgmentLimiter
from streams.client_events import (
    ID,
    IDENTIFIER,
    MAX_CLOCK_SKEW,
    NAME,
    NUMBER,
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
from streams.privacy.sealing import Sealer
from streams.pseudonyms import Role, pseudonym
from streams.settings import FeedbackCaps

TIMEOUT = 5.0  # seconds to publish before the client gets a 503


class Intake:
    """Turns client requests into events on ``outlet``; ``key`` is the secret for pseudonyms, derived ids and the split into strata.

    Every method raises ``InputRefused``, naming the field, for invalid input, and ``Overloaded`` when the log cannot be written. The events
    that they return hold the texts as given, with which the conversation goes on; ``redactor`` removes personal data from those published,
    and ``sealer`` seals them.
    """

    def __init__(
        self,
        outlet: Outlet,
        key: bytes,
        caps: FeedbackCaps | None = None,
        asking: AskingSettings | None = None,
        redactor: Redactor | None = None,
        sealer: Sealer | None = None,
    ) -> None:
        self._outlet = outlet
        self._key = key
        self._asking = asking or AskingSettings()
        self._redactor = redactor or Redactor()
        self._sealer = sealer or Sealer()
        self._limiter = JudgmentLimiter(caps or FeedbackCaps())
        self._caller = ""
        self._recruiters: frozenset[str] | None = None
        self._request: UUID | None = None
        self._made = 0

    def within(self, request: UUID | None, outlet: Outlet | None = None) -> Self:
        """This intake for one request: the ids of its events derive from ``request``, so that the same calls give the same events.

        A repeated request is thus one event in the warehouse, whichever process accepts it. ``outlet`` replaces the log, to publish the
        events of several requests at once.
        """
        view = copy.copy(self)
        view._request, view._made, view._outlet = request, 0, outlet or self._outlet
        return view

    def for_caller(self, name: str, recruiters: frozenset[str] | None = None) -> Self:
        """This intake for one caller: rate limits count by ``name``, and it takes feedback of ``recruiters`` only (pseudonyms; None: all).

        A request for another recruiter raises ``NotAllowed``.
        """
        view = copy.copy(self)
        view._caller, view._recruiters = name, recruiters
        return view

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

    def interventions(self, made: Sequence[Intervention], conversation_id: str | None, source: Source = "product") -> None:
        """Record what safety filters did where no reply is logged; without the conversation if nothing of it is to be logged."""
        known = {"conversation_id": conversation_id, "source": source}
        self.publish([event_of(InterventionMade, event_id=self._new_id(), **known, **each._asdict()) for each in made])

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

        The ``version`` of a response that a recruiter wrote is ``recruiter:`` and their name: they are not asked about it.

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
            pair_id=self._new_id() if pair_id is None else pair_id,
            event_id=self._new_id(),
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
        recruiter: str | None,
        choice: str | None,
        objectives: Mapping[str, str] | None = None,
        strength: int | None = None,
        reason: str | None = None,
        shown_first: str | None = None,
        seconds: float | None = None,
        counts: bool = True,
        source: Source = "product",
    ) -> JudgmentGiven:
        """Record a judgment by ``recruiter`` (a name or id, stored as a pseudonym) of a pair, which need not have arrived yet."""
        event = make_judgment(
            pair_id=pair_id,
            recruiter=self.recruiter(recruiter),
            choice=choice,
            objectives=objectives,
            strength=strength,
            reason=reason,
            shown_first=shown_first,
            seconds=seconds,
            counts=counts,
            event_id=self._new_id(),
            source=source,
        )
        self._limiter.admit(event.pair_id, event.recruiter, self._caller)
        self.publish([event])
        return event

    def rating(
        self,
        *,
        recruiter: str,
        conversation_id: str | None = None,
        reply_id: UUID | str | None = None,
        thumb: str | None = None,
        score: float | None = None,
        scale: tuple[float, float] | None = None,
        comment: str | None = None,
        reason: str | None = None,
        source: Source = "product",
    ) -> ResponseRated:
        """Record a thumb, a score or a comment on one reply, or on the conversation's last one; the reply need not have arrived yet.

        ``scale`` is the lowest and the highest possible score.
        """
        given = [name for name, value in (("thumb", thumb), ("score", score), ("comment", comment)) if value is not None]
        if len(given) != 1:
            at = given[-1] if given else "thumb"
            raise InputRefused(f"{at}: give one of thumb, score and comment", at)
        lowest, highest = _ends(score, scale)
        return self._rated(
            recruiter,
            conversation_id,
            reply_id,
            source,
            thumb=thumb,
            score=score,
            lowest=lowest,
            highest=highest,
            comment=comment,
            reason=reason,
        )

    def withdrawal(
        self,
        *,
        recruiter: str,
        pair_id: UUID | str | None = None,
        reply_id: UUID | str | None = None,
        conversation_id: str | None = None,
        reason: str | None = None,
        source: Source = "product",
    ) -> JudgmentGiven | ResponseRated:
        """Withdraw what ``recruiter`` has said of a pair, or of a reply: it teaches nothing any more.

        It is a later entry by the same recruiter about the same thing that says nothing, so it needs no other event to have arrived.
        """
        if pair_id is None:
            return self._rated(recruiter, conversation_id, reply_id, source, reason=reason)
        if reply_id is not None or conversation_id is not None:
            raise InputRefused("pair_id: name a pair or a reply, not both", "pair_id")
        return self.judgment(pair_id=pair_id, recruiter=recruiter, choice="skip", reason=reason, source=source)

    def _rated(
        self, recruiter: str, conversation_id: str | None, reply_id: UUID | str | None, source: Source, **said: Any
    ) -> ResponseRated:
        if conversation_id is None and reply_id is None:
            raise InputRefused("reply_id: name the reply by reply_id, or its conversation by conversation_id", "reply_id")
        event = event_of(
            ResponseRated,
            event_id=self._new_id(),
            conversation_id=conversation_id,
            reply_id=reply_id,
            recruiter=self.pseudonym("recruiter", recruiter),
            source=source,
            **said,
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
            pair_id=self._new_id(),
            event_id=self._new_id(),
            source=source,
            asking=self._asking,
        )
        judgment = self._preferred(pair.pair_id, author, reason, source)
        self.publish([pair, judgment])
        return pair, judgment

    def rewrite(
        self,
        *,
        edited: str,
        recruiter: str,
        reply_id: UUID | str | None = None,
        conversation_id: str | None = None,
        pair_id: UUID | str | None = None,
        side: str | None = None,
        reason: str | None = None,
        source: Source = "product",
    ) -> tuple[ResponseEdited, JudgmentGiven]:
        """As :meth:`edit`, of a response that the log holds or will: a reply, a conversation's last one, or a side of a pair.

        The hub draws the pair of both once the original is there (``streams.stations.rewrites``); the judgment for the rewrite waits.
        """
        if (pair_id is None) != (side is None):
            at = "side" if side is None else "pair_id"
            raise InputRefused(f"{at}: missing; a response of a pair is named by pair_id and side", at)
        if (pair_id is None) == (reply_id is None and conversation_id is None):
            raise InputRefused("reply_id: name one response, by reply_id, by conversation_id, or by pair_id and side", "reply_id")
        author = self.pseudonym("recruiter", recruiter)
        event = event_of(
            ResponseEdited,
            event_id=self._new_id(),
            pair_id=self._new_id(),
            conversation_id=conversation_id,
            reply_id=reply_id,
            original_pair=None if pair_id is None else checked_as(ID, pair_id, "pair_id"),
            side=side,
            recruiter=author,
            edited=edited,
            source=source,
        )
        judgment = self._preferred(event.pair_id, author, reason, source)
        self.publish([event, judgment])
        return event, judgment

    def _preferred(self, pair_id: UUID, author: str, reason: str | None, source: Source) -> JudgmentGiven:
        """The judgment of a pair for its side B, the rewrite."""
        return make_judgment(pair_id=pair_id, recruiter=author, choice="B", reason=reason, event_id=self._new_id(), source=source)

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
        ids = self._new_id(), self._new_id()
        recorded = None if groups is None else event_of(GroupsRecorded, event_id=ids[0], candidate=person, groups=groups, source=source)
        decided = None if outcome is None else make_outcome(person, outcome, source, ids[1])
        self.publish([event for event in (recorded, decided) if event is not None])
        return recorded, decided

    def publish(self, events: Sequence[Event]) -> None:
        """Redact, seal and publish validated events in one call; refuses events stamped more than ``MAX_CLOCK_SKEW`` in the future."""
        for event in events:
            if event.occurred_at > now() + MAX_CLOCK_SKEW:
                stamp = f"{event.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
                raise InputRefused(f"occurred_at: {stamp} lies in the future; correct the sender's clock", "occurred_at")
        self._outlet.publish(records_of(self._sealer.logged(self._redactor.logged(events))), timeout=TIMEOUT)

    def send(self, records: Sequence[Record]) -> None:
        """Publish records that a view of this intake has collected, in one commit."""
        if records:
            self._outlet.publish(records, timeout=TIMEOUT)

    def stratum(self, conversation_id: str) -> Stratum:
        """The stratum of the conversation."""
        return stratum_of(checked_as(IDENTIFIER, conversation_id, "conversation_id"), self._key)

    def conversation_id(self, opening: str, candidate: str | None) -> str:
        """The id of a conversation that the product names by none, from its first words and the candidate.

        The same in every process of the installation. Without the key it cannot be guessed from the words, which it outlives.
        """
        person = "" if candidate is None else self.pseudonym("candidate", candidate)
        return f"chat-{derived_id('conversation', person, digest_of(opening, self._key)).hex}"

    def pseudonym(self, role: Role, name: str) -> str:
        """``r-…`` for a recruiter, ``c-…`` for a candidate; deterministic, and not reversible without the key.

        Raises ``NotAllowed`` for a recruiter for whom the caller may not speak.
        """
        found = pseudonym(self._key, role, checked_as(NAME, name, role))
        if role == "recruiter" and self._recruiters is not None and found not in self._recruiters:
            raise NotAllowed(f"recruiter: {self._caller} may not speak for this recruiter; send the request as one who may")
        return found

    def recruiter(self, name: str | None) -> str:
        """The recruiter's pseudonym. A caller who speaks for one only, such as who has signed in, need not say the name.

        Raises ``InputRefused`` without a name of any other caller.
        """
        if name is not None:
            return self.pseudonym("recruiter", name)
        if self._recruiters is None or len(self._recruiters) != 1:
            raise InputRefused("recruiter: Field required", "recruiter")
        return next(iter(self._recruiters))

    def _new_id(self) -> UUID:
        if self._request is None:
            return new_id()
        self._made += 1
        return derived_id("request", self._request, self._made)


def _ends(score: float | None, scale: tuple[float, float] | None) -> tuple[float | None, float | None]:
    """Both ends of the scale of ``score``."""
    if score is None and scale is None:
        return None, None
    if score is None or scale is None:
        at = "score" if score is None else "scale"
        raise InputRefused(f"{at}: missing; a score is given with its scale, such as [1, 5]", at)
    lowest, highest = (checked_as(NUMBER, end, f"scale.{at}") for at, end in enumerate(scale))
    if not lowest < highest:
        raise InputRefused(f"scale: {lowest:g} is not below {highest:g}; give the lowest and the highest score", "scale")
    if not lowest <= checked_as(NUMBER, score, "score") <= highest:
        raise InputRefused(f"score: {score:g} is not on the scale from {lowest:g} to {highest:g}", "score")
    return lowest, highest
