"""All events exchanged between processes, and the table of their kinds.

Events are immutable, stamped in UTC by the server that accepted them, and JSON on the wire (``wire``). They are produced by ``intake``,
``serving`` and the stations of the loop, published on the bus, and stored as rows in the warehouse. ``streams.bus.topics`` maps topics to
events.
"""

from storage.events.access import (
    AccessChanged,
    DecisionMade,
    KeyIssued,
    KeyRevoked,
    PersonAdded,
    PersonRemoved,
    RequestsRefused,
    RolesChanged,
    SignedIn,
    SignedOut,
)
from storage.events.chat import Message, Prompt, ReplySent, Sampling
from storage.events.event import Event, Kind, Part, assembled, forget_given, newest_version, problems
from storage.events.feedback import JudgmentGiven, PairDrawn, PairEmbedded, Response, ResponseEdited, ResponseRated
from storage.events.fields import MAX_TEXT, Choice, Finite, Identifier, Moment, Name, Sha256, Side, Source, Stratum, Text, Verdict
from storage.events.ids import derived_id, new_id, now
from storage.events.outcomes import GroupsRecorded, OutcomeRecorded
from storage.events.preferences import HubClaimed, Numbered, PreferenceJoined, PreferenceRemoved, SequenceGap, Watermark, advance
from storage.events.privacy import Erasable, Erased, PersonErased
from storage.events.quarantine import EventQuarantined
from storage.events.safety import Intervention, InterventionMade
from storage.events.training import DatasetFrozen, RewardUpdated, RunClaimed, TrainingFailed, TrainingProgress, TrainingRequested
from storage.events.vector import Vector, pack, unpack
from storage.events.versions import CanaryStarted, DuelDecided, GateResult, ModelEvaluated, ModelPromoted, ModelRolledBack, ReviewDecided

EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        ReplySent,
        InterventionMade,
        PairDrawn,
        JudgmentGiven,
        ResponseRated,
        ResponseEdited,
        GroupsRecorded,
        OutcomeRecorded,
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
        DuelDecided,
        CanaryStarted,
        ModelPromoted,
        ModelRolledBack,
        KeyIssued,
        KeyRevoked,
        PersonAdded,
        RolesChanged,
        PersonRemoved,
        SignedIn,
        SignedOut,
        RequestsRefused,
        DecisionMade,
        PersonErased,
    )
}

__all__ = [
    "EVENTS",
    "MAX_TEXT",
    "AccessChanged",
    "CanaryStarted",
    "Choice",
    "DatasetFrozen",
    "DecisionMade",
    "DuelDecided",
    "Erasable",
    "Erased",
    "Event",
    "EventQuarantined",
    "Finite",
    "GateResult",
    "GroupsRecorded",
    "HubClaimed",
    "Identifier",
    "Intervention",
    "InterventionMade",
    "JudgmentGiven",
    "KeyIssued",
    "KeyRevoked",
    "Kind",
    "Message",
    "ModelEvaluated",
    "ModelPromoted",
    "ModelRolledBack",
    "Moment",
    "Name",
    "Numbered",
    "OutcomeRecorded",
    "PairDrawn",
    "PairEmbedded",
    "Part",
    "PersonAdded",
    "PersonErased",
    "PersonRemoved",
    "PreferenceJoined",
    "PreferenceRemoved",
    "Prompt",
    "ReplySent",
    "RequestsRefused",
    "Response",
    "ResponseEdited",
    "ResponseRated",
    "ReviewDecided",
    "RewardUpdated",
    "RolesChanged",
    "RunClaimed",
    "Sampling",
    "SequenceGap",
    "Sha256",
    "Side",
    "SignedIn",
    "SignedOut",
    "Source",
    "Stratum",
    "Text",
    "TrainingFailed",
    "TrainingProgress",
    "TrainingRequested",
    "Vector",
    "Verdict",
    "Watermark",
    "advance",
    "assembled",
    "derived_id",
    "forget_given",
    "new_id",
    "newest_version",
    "now",
    "pack",
    "problems",
    "unpack",
]
