"""An in-memory log, and factories for events."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from storage.events import (
    EVENTS,
    CanaryStarted,
    DatasetFrozen,
    DecisionMade,
    DuelDecided,
    Erased,
    Event,
    EventQuarantined,
    GateResult,
    GroupsRecorded,
    HubClaimed,
    InterventionMade,
    JudgmentGiven,
    KeyIssued,
    KeyRevoked,
    Kind,
    Message,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    OutcomeRecorded,
    PairDrawn,
    PairEmbedded,
    PersonAdded,
    PersonErased,
    PersonRemoved,
    PreferenceJoined,
    PreferenceRemoved,
    ReplySent,
    RequestsRefused,
    Response,
    ResponseEdited,
    ResponseRated,
    ReviewDecided,
    RewardUpdated,
    RolesChanged,
    RunClaimed,
    Sampling,
    SignedIn,
    SignedOut,
    TrainingFailed,
    TrainingProgress,
    TrainingRequested,
    derived_id,
    pack,
    unpack,
)
from storage.events.texts import with_texts
from storage.events.wire import encode
from storage.strata import stratum_of
from storage.texts.sealed import Cipher, TextKey, group_bytes
from storage.warehouse.entries import Applied, Entry, Partition
from storage.warehouse.warehouse import Warehouse

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HASH = "0" * 64
VECTOR = pack(np.array([0.5, -1.25, 3.0], dtype="f4"))

TOPICS = {
    ReplySent: "chat.replies",
    InterventionMade: "chat.interventions",
    PairDrawn: "feedback.pairs",
    JudgmentGiven: "feedback.judgments",
    ResponseRated: "feedback.ratings",
    ResponseEdited: "feedback.ratings",
    GroupsRecorded: "candidates.outcomes",
    OutcomeRecorded: "candidates.outcomes",
    PairEmbedded: "feedback.features",
    HubClaimed: "feedback.preferences",
    PreferenceJoined: "feedback.preferences",
    PreferenceRemoved: "feedback.preferences",
    EventQuarantined: "feedback.quarantine",
    RewardUpdated: "models.reward.updated",
    TrainingRequested: "training.requested",
    DatasetFrozen: "training.dataset_frozen",
    RunClaimed: "training.progress",
    TrainingProgress: "training.progress",
    TrainingFailed: "training.progress",
    KeyIssued: "access",
    KeyRevoked: "access",
    PersonAdded: "access",
    RolesChanged: "access",
    PersonRemoved: "access",
    SignedIn: "access",
    SignedOut: "access",
    RequestsRefused: "access",
    DecisionMade: "access",
    PersonErased: "privacy.erasures",
}


class Log:
    """Topics with one partition each. ``entries`` is the input of ``Warehouse.apply``, ``raw`` that of ``verify``."""

    def __init__(self) -> None:
        self.topics: dict[str, list[Event | bytes]] = {}
        self.entries: list[Entry] = []

    def add(self, *events: Event | bytes, topic: str | None = None) -> list[Entry]:
        added = []
        for event in events:
            name = topic or (TOPICS.get(type(event), "models.versions") if isinstance(event, Event) else "feedback.judgments")
            here = self.topics.setdefault(name, [])
            added.append((Partition(name, 0), len(here), event if isinstance(event, Event) else None))
            here.append(event)
        self.entries += added
        return added

    def raw(self) -> Iterator[tuple[str, int, int, bytes]]:
        for topic, events in self.topics.items():
            for offset, event in enumerate(events):
                yield topic, 0, offset, encode(event) if isinstance(event, Event) else event


def apply(warehouse: Warehouse, log: Log, *events: Event | bytes) -> Applied:
    return warehouse.apply(log.add(*events))


def at(minute: float) -> datetime:
    return START + timedelta(minutes=minute)


def id_of(*parts: object) -> UUID:
    """An id that is the same in every test run."""
    return derived_id("test", *parts)


def prompt(text: str = "When will I hear back?") -> tuple[Message, ...]:
    return (Message(role="system", content="You write for Hallam Logistics."), Message(role="user", content=text))


def pair(number: int, **values: Any) -> PairDrawn:
    conversation = f"conversation-{number}"
    return PairDrawn(
        **{
            "event_id": id_of("drawn", number),
            "occurred_at": at(number),
            "source": "product",
            "pair_id": id_of("pair", number),
            "conversation_id": conversation,
            "prompt": prompt(f"When will I hear back about job {number}?"),
            "a": Response(text=f"On Tuesday, for job {number}.", version="base"),
            "b": Response(text=f"Soon, for job {number}.", version="base"),
            "drawn": "sampled",
            "probability": 1.0,
            "stratum": stratum_of(conversation),
        }
        | values
    )


def features(number: int, **values: Any) -> PairEmbedded:
    vectors = np.random.default_rng(number).normal(size=(2, 3)).astype("f4")
    return PairEmbedded(
        **{
            "event_id": id_of("embedded", number),
            "occurred_at": at(number),
            "source": "product",
            "pair_id": id_of("pair", number),
            "embedding": "tiny",
            "embedding_hash": HASH,
            "a": pack(vectors[0]),
            "b": pack(vectors[1]),
        }
        | values
    )


def judgment(number: int, choice: str | None = "A", recruiter: str = "r-1", minute: float = 0, **values: Any) -> JudgmentGiven:
    return JudgmentGiven(
        **{
            "event_id": id_of("judged", number, choice, recruiter, minute),
            "occurred_at": at(number + minute),
            "source": "product",
            "pair_id": id_of("pair", number),
            "recruiter": recruiter,
            "choice": choice,
        }
        | values
    )


def reply(number: int, text: str | None = None, **values: Any) -> ReplySent:
    conversation = f"conversation-{number}"
    return ReplySent(
        **{
            "event_id": id_of("reply", number),
            "occurred_at": at(number),
            "source": "product",
            "conversation_id": conversation,
            "candidate": f"c-{number}",
            "prompt": prompt(text or f"When will I hear back about job {number}?"),
            "reply": f"On Tuesday, for job {number}.",
            "version": "base",
            "sampling": Sampling(seed=7, stop=("\n",)),
            "stratum": stratum_of(conversation),
        }
        | values
    )


def thumb(number: int, way: str = "up", recruiter: str = "r-1", minute: float = 0, **values: Any) -> ResponseRated:
    return ResponseRated(
        **{
            "event_id": id_of("rated", number, way, recruiter, minute),
            "occurred_at": at(number + minute),
            "source": "product",
            "conversation_id": f"conversation-{number}",
            "reply_id": id_of("reply", number),
            "recruiter": recruiter,
            "thumb": way,
        }
        | values
    )


def rewrite(number: int, recruiter: str = "r-1", **values: Any) -> ResponseEdited:
    """A rewrite of the reply of conversation ``number``; its pair is that of ``number + 100``."""
    return ResponseEdited(
        **{
            "event_id": id_of("rewritten", number, recruiter),
            "occurred_at": at(number),
            "source": "product",
            "pair_id": id_of("pair", number + 100),
            "reply_id": id_of("reply", number),
            "recruiter": recruiter,
            "edited": f"On Wednesday, for job {number}.",
        }
        | values
    )


def groups(candidate: str, **values: Any) -> GroupsRecorded:
    about = {"event_id": id_of("groups", candidate), "occurred_at": at(1), "source": "product", "candidate": candidate}
    return GroupsRecorded(**about | {"groups": {"sex": "female"}} | values)


def outcome(name: str, candidate: str, **values: Any) -> OutcomeRecorded:
    about: dict[str, Any] = {"event_id": id_of("outcome", name, candidate), "occurred_at": at(1), "decided_at": at(1), "source": "product"}
    about |= {"outcome_id": name, "candidate": candidate, "position": "nurse", "stage": "screening", "selected": True}
    return OutcomeRecorded(**about | values)


def erasure(what: Erased, name: str) -> PersonErased:
    return PersonErased.of(what, name, "request", at(500))


def one_of_each() -> list[Event]:
    """An event of every kind, with every optional field set."""
    run, said = (
        id_of("run"),
        judgment(1, "tie", objectives={"helpful": "B"}, strength=3, reason="Ä \u2028 “q”", shown_first="B", seconds=2.5),
    )
    common: dict[str, Any] = {"occurred_at": at(1.000001), "source": "simulation"}
    gate = GateResult(name="win", verdict="failed", figure=0.5, low=None, high=0.6, n=9, limit="> 0.5", unit="share", words="half")
    numbered: dict[str, Any] = {"epoch": 2, "sequence": 5}
    signed: dict[str, Any] = {"serial": 1, "signed_by": HASH, "signature": "c2lnbmVk"}
    events = [
        reply(1),
        InterventionMade(
            **common, conversation_id="c-1", about=run, stage="reply", filter="conduct", action="replace", finding="question.age", times=2
        ),
        pair(1),
        said,
        ResponseRated(**common, conversation_id="c", reply_id=run, recruiter="r-1", score=2.5, lowest=1, highest=5, reason="late"),
        ResponseEdited(**common, pair_id=id_of("pair", 9), original_pair=id_of("pair", 1), side="B", recruiter="r-1", edited="Tomorrow."),
        GroupsRecorded(**common, candidate="c-1", groups={"sex": "female", "race_ethnicity": "Hispanic or Latino"}),
        OutcomeRecorded(
            **common, outcome_id="o-1", candidate="c-1", position="nurse", stage="screening", selected=True, score=0.5, decided_at=at(1)
        ),
        features(1),
        HubClaimed(**common, epoch=3, hub="hub-1"),
        PreferenceJoined(**common, **numbered, judgment=said, stratum="training", embedding_hash=HASH, a=VECTOR, b=VECTOR),
        PreferenceRemoved(**common, **numbered, removes=4),
        EventQuarantined(
            **common,
            topic="feedback.pairs",
            partition=3,
            offset=4,
            reader="sink",
            reason="not JSON: \x00",
            payload_hash=HASH,
        ),
        RewardUpdated(
            **common,
            head_id=HASH,
            sequence=5,
            judgments_before=3,
            judgments_seen=4,
            mean=VECTOR,
            prequential_accuracy=0.75,
            prequential_log_loss=0.1,
            prequential_n=4,
            checkpoint=HASH,
            judged_at=at(1),
        ),
        TrainingRequested(
            **common,
            run_id=run,
            method="dpo",
            threshold="count",
            k=1,
            through_sequence=5,
            sources=("product", "simulation"),
            settings=HASH,
            requested_by="Rosa",
        ),
        DatasetFrozen(**common, run_id=run, snapshot=HASH, champion="base", champion_policy=HASH, challengers_before=2),
        RunClaimed(**common, run_id=run, attempt=1, trainer="trainer-1"),
        TrainingProgress(**common, run_id=run, attempt=1, stage="train", step=2, steps=3, metrics={"loss": 0.1, "kl": 1e-9}),
        TrainingFailed(**common, run_id=run, attempt=1, stage="train", reason="out of memory", final=True),
        ModelEvaluated(
            **common, version="v-1", run_id=run, policy=HASH, report=HASH, champion="base", gates=(gate, gate), verdict="failed"
        ),
        ReviewDecided(**common, version="v-1", decision="reject", reviewer="Rosa", reason="a gate failed"),
        DuelDecided(
            **common,
            version="v-1",
            review=run,
            champion="base",
            stage="duel",
            outcome="better",
            through_sequence=21,
            evidence=HASH,
            words="Recruiters prefer the challenger.",
        ),
        CanaryStarted(**common, version="v-1", review=run, step=0, share=0.1, through_sequence=21, evidence=HASH),
        ModelPromoted(**common, version="v-1", review=run, record=HASH),
        ModelRolledBack(**common, version="v-1", reviewer="Rosa", reason="wrong dates"),
        KeyIssued(
            **common,
            **signed,
            key_id="0123456789ab",
            name="chat",
            secret_hash=HASH,
            scopes=("chat", "feedback"),
            recruiters=("r-1",),
            expires_at=at(9),
        ),
        KeyRevoked(**common, **signed, key_id="0123456789ab", ends_at=at(5)),
        PersonAdded(**common, **signed, person="p-1", recruiter="r-1", roles=("recruiter", "reviewer")),
        RolesChanged(**common, **signed, person="p-1", roles=("auditor",)),
        PersonRemoved(**common, **signed, person="p-1"),
        SignedIn(**common, person="p-1", how="local"),
        SignedOut(**common, person="p-1"),
        RequestsRefused(**common, caller="key:chat", request="GET /export", status=403, times=3),
        DecisionMade(**common, caller="key:ops", decision=run),
        PersonErased(**common, what="candidate", name="c-gone", cause="request"),
    ]
    assert {type(event) for event in events} == set(EVENTS.values())
    return events


def sealed(event: Kind, key: TextKey) -> Kind:
    """The event with its texts, vectors and groups sealed under the key."""
    cipher = Cipher(key)
    closed = with_texts(event, lambda text: cipher.seal(text.encode(), "t"))
    if isinstance(event, PairEmbedded):
        return closed.model_copy(update={side: cipher.seal(unpack(getattr(event, side)).tobytes(), "v") for side in "ab"})
    if isinstance(event, GroupsRecorded):
        return closed.model_copy(
            update={"groups": {name: cipher.seal(group_bytes(name, group), "g") for name, group in event.groups.items()}}
        )
    return closed


def joined(events: Iterable[Event]) -> set[tuple[UUID, str]]:
    """Judgments that are numbered and not removed."""
    numbers = {event.sequence: event for event in events if isinstance(event, PreferenceJoined)}
    removed = {event.removes for event in events if isinstance(event, PreferenceRemoved)}
    return {(event.judgment.event_id, event.stratum) for number, event in numbers.items() if number not in removed}
