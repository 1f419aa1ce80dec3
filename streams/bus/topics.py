"""The table of topics: event kinds, partition key and number of partitions.

Nothing is ever removed from a topic, so that the log can be replayed from its start; what ``[retention]`` ends is erased by an event. Only
``TEXT_KEYS`` is compacted. On the SQLite bus each topic has one partition; on Kafka it has ``partitions``.
"""

from dataclasses import dataclass

from storage import events
from storage.events import Event


@dataclass(frozen=True)
class Topic:
    """``key`` is the event field that selects the partition; it is empty where all events must stay in one order."""

    name: str
    kinds: tuple[type[Event], ...]
    key: str
    partitions: int


REPLIES = Topic("chat.replies", (events.ReplySent,), "conversation_id", 8)
INTERVENTIONS = Topic("chat.interventions", (events.InterventionMade,), "conversation_id", 8)
PAIRS = Topic("feedback.pairs", (events.PairDrawn,), "pair_id", 8)
JUDGMENTS = Topic("feedback.judgments", (events.JudgmentGiven,), "pair_id", 8)
RATINGS = Topic("feedback.ratings", (events.ResponseRated, events.ResponseEdited), "subject", 8)
OUTCOMES = Topic("candidates.outcomes", (events.GroupsRecorded, events.OutcomeRecorded), "candidate", 8)  # only audits read it
FEATURES = Topic("feedback.features", (events.PairEmbedded,), "pair_id", 8)
PREFERENCES = Topic("feedback.preferences", (events.HubClaimed, events.PreferenceJoined, events.PreferenceRemoved), "", 1)
QUARANTINE = Topic("feedback.quarantine", (events.EventQuarantined,), "", 1)
REWARD = Topic("models.reward.updated", (events.RewardUpdated,), "head_id", 1)
REQUESTED = Topic("training.requested", (events.TrainingRequested,), "run_id", 1)
FROZEN = Topic("training.dataset_frozen", (events.DatasetFrozen,), "run_id", 1)
PROGRESS = Topic("training.progress", (events.RunClaimed, events.TrainingProgress, events.TrainingFailed), "", 1)
VERSIONS = Topic(
    "models.versions",
    (
        events.ModelEvaluated,
        events.ReviewDecided,
        events.DuelDecided,
        events.CanaryStarted,
        events.ModelPromoted,
        events.ModelRolledBack,
    ),
    "",
    1,
)
ACCESS = Topic(
    "access",
    (
        events.KeyIssued,
        events.KeyRevoked,
        events.PersonAdded,
        events.RolesChanged,
        events.PersonRemoved,
        events.SignedIn,
        events.SignedOut,
        events.RequestsRefused,
        events.DecisionMade,
    ),
    "",
    1,
)
ERASURES = Topic("privacy.erasures", (events.PersonErased,), "", 1)

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        REPLIES,
        INTERVENTIONS,
        PAIRS,
        JUDGMENTS,
        RATINGS,
        OUTCOMES,
        FEATURES,
        PREFERENCES,
        QUARANTINE,
        REWARD,
        REQUESTED,
        FROZEN,
        PROGRESS,
        VERSIONS,
        ACCESS,
        ERASURES,
    )
}

TEXT_KEYS = Topic("privacy.text_keys", (), "kid", 1)  # on Kafka only, compacted, and not stored by the sink: streams.bus.text_keys

TOPIC_OF: dict[type[Event], Topic] = {kind: topic for topic in TOPICS.values() for kind in topic.kinds}


def key_of(event: Event) -> bytes:
    """The partition key of ``event`` on its topic."""
    field = TOPIC_OF[type(event)].key
    return str(getattr(event, field)).encode() if field else b""
