"""What a run learns from and is judged by, in the forms that training, heads and audits take.

Read from a frozen snapshot (with the features that the loop computed) or from a file of preference records (embedded here).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from pydantic import TypeAdapter

from storage.events import Choice, JudgmentGiven, Message, PreferenceJoined, Prompt, Side, Source, Stratum, derived_id, pack, unpack
from storage.snapshots.snapshot import Snapshot
from storage.strata import conversation_of
from trainers.data.records import PreferenceData
from trainers.policy.dpo import PreferenceRow
from trainers.reward.evaluation_head import Judged
from trainers.reward.online.learn import Head, HeadSettings, learn_all, new_head, reconcile
from trainers.reward.online.ordinal import levels

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(Prompt)
UNKNOWN = "unknown"  # the recruiter of a record that names none
_NO_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)  # of records that say none: the same data gives the same head


class Embedding(Protocol):
    """What is needed of ``trainers.features.embedder.Embedder``."""

    name: str
    hash: str
    dimension: int

    def features(self, items: Sequence[tuple[Sequence[Message], str]]) -> np.ndarray: ...


@dataclass(frozen=True)
class Judgment:
    """One answered comparison; ``features`` are those of A and B where they are stored."""

    prompt: tuple[Message, ...]
    a: str
    b: str
    choice: Choice
    strength: int | None
    recruiter: str
    shown_first: Side | None
    stratum: Stratum
    source: Source
    occurred_at: datetime
    features: tuple[np.ndarray, np.ndarray] | None
    embedding_hash: str | None


@dataclass(frozen=True)
class Trial:
    """A prompt to try models on, and what was answered there by which version."""

    prompt: tuple[Message, ...]
    reply: str
    version: str


def judgments_of(snapshot: Snapshot) -> list[Judgment]:
    """The overall judgments of a snapshot, in order of sequence; none to train on that stands on the evaluation side too."""
    return [_judgment(row) for row in snapshot.admitted.to_pylist() if row["objective"] == "overall"]


def _judgment(row: dict[str, Any]) -> Judgment:
    return Judgment(
        prompt=_MESSAGES.validate_json(row["prompt"]),
        a=row["a"],
        b=row["b"],
        choice=row["choice"],
        strength=row["strength"],
        recruiter=row["recruiter"],
        shown_first=row["shown_first"],
        stratum=row["stratum"],
        source=row["source"],
        occurred_at=row["occurred_at"],
        features=(unpack(row["features_a"]), unpack(row["features_b"])),
        embedding_hash=row["embedding_hash"],
    )


def trials_of(snapshot: Snapshot, most: int) -> list[Trial]:
    """The newest prompts of the evaluation stratum, oldest first."""
    rows = snapshot.prompts.select(["prompt", "reply", "version"]).to_pylist()[-most:]
    return [Trial(_MESSAGES.validate_json(row["prompt"]), row["reply"], row["version"]) for row in rows]


def judgments_of_records(data: PreferenceData) -> list[Judgment]:
    """The comparisons of a file."""
    return [
        Judgment(
            c.prompt, c.a, c.b, c.choice, c.strength, c.recruiter or UNKNOWN, c.shown_first, c.stratum, "import", _NO_MOMENT, None, None
        )
        for c in data.comparisons
    ]


def trials_of_judgments(judgments: Sequence[Judgment], most: int) -> list[Trial]:
    """The different prompts of the evaluation stratum's judgments, for data that holds no others."""
    prompts = dict.fromkeys(j.prompt for j in judgments if j.stratum == "evaluation")
    return [Trial(prompt, "", "") for prompt in list(prompts)[-most:]]


def preference_rows(judgments: Sequence[Judgment]) -> list[PreferenceRow]:
    """The decisive judgments of the training stratum as rows to train on; never a tie, never the evaluation stratum."""
    rows = []
    for judgment in judgments:
        if judgment.stratum == "training" and judgment.choice in ("A", "B"):
            chosen, rejected = (judgment.a, judgment.b) if judgment.choice == "A" else (judgment.b, judgment.a)
            moment = None if judgment.occurred_at == _NO_MOMENT else judgment.occurred_at
            rows.append(PreferenceRow(judgment.prompt, chosen, rejected, moment))
    return rows


def with_features(judgments: Sequence[Judgment], embedding: Embedding) -> tuple[np.ndarray, np.ndarray]:
    """The features of all A and all B, ``(n, d)`` each: the stored ones where they are of this embedding, else computed."""
    stored = [j.features is not None and j.embedding_hash == embedding.hash for j in judgments]
    missing = [j for j, there in zip(judgments, stored, strict=True) if not there]
    fresh = iter(embedding.features([(j.prompt, text) for j in missing for text in (j.a, j.b)]))
    a, b = np.empty((len(judgments), embedding.dimension), "<f4"), np.empty((len(judgments), embedding.dimension), "<f4")
    for i, (judgment, there) in enumerate(zip(judgments, stored, strict=True)):
        a[i], b[i] = judgment.features if there and judgment.features is not None else (next(fresh), next(fresh))
    return a, b


def stored_features(judgments: Sequence[Judgment], embedding: Embedding) -> dict[tuple[tuple[Message, ...], str], np.ndarray]:
    """The features that the loop has computed already under this embedding, by prompt and reply: many of the champion's were judged."""
    found = {}
    for judgment in judgments:
        if judgment.features is not None and judgment.embedding_hash == embedding.hash:
            found[judgment.prompt, judgment.a], found[judgment.prompt, judgment.b] = judgment.features
    return found


def training_head(judgments: Sequence[Judgment], embedding: Embedding, settings: HeadSettings) -> Head:
    """The online head as it stands after these judgments' training stratum, reconciled: the reward that ranks and that is audited."""
    held = [j for j in judgments if j.stratum == "training" and j.choice in ("A", "B", "tie")]
    sources = sorted({j.source for j in held}) or ["product"]
    a, b = with_features(held, embedding)
    joined = (
        PreferenceJoined(
            source=judgment.source,
            epoch=1,
            sequence=i + 1,
            judgment=JudgmentGiven(
                event_id=derived_id("replayed", i),
                occurred_at=judgment.occurred_at,
                source=judgment.source,
                pair_id=UUID(int=i),
                recruiter=judgment.recruiter,
                choice=judgment.choice,
                strength=judgment.strength,
                shown_first=judgment.shown_first,
            ),
            stratum="training",
            embedding_hash=embedding.hash,
            a=pack(a[i]),
            b=pack(b[i]),
        )
        for i, judgment in enumerate(held)
    )
    return reconcile(learn_all(new_head(settings, embedding.hash, embedding.dimension, sources), joined))


def judged(judgments: Sequence[Judgment], embedding: Embedding) -> tuple[Judged, np.ndarray]:
    """The evaluation stratum's judgments, and the features of all replies that they judge, ``(2 n, d)``."""
    held = [j for j in judgments if j.stratum == "evaluation" and j.choice in ("A", "B", "tie")]
    a, b = with_features(held, embedding)
    answered = np.array([levels(j.choice, j.strength) for j in held], np.int64).reshape(-1, 2)
    found = Judged(
        differences=a.astype(float) - b,
        lower=answered[:, 0],
        upper=answered[:, 1],
        position=np.array([{"A": 1, "B": -1, None: 0}[j.shown_first] for j in held], np.int64),
        recruiter=np.array([j.recruiter for j in held], dtype=str),
        prompt=np.array([conversation_of(j.prompt) for j in held], dtype=str),
    )
    return found, np.concatenate([a, b])


def reward_spread(head: Head) -> float:
    """The standard deviation of the head's reward differences between the replies that were judged."""
    differences = head.history.differences()
    return float((differences.astype(float) @ head.weights).std()) if len(differences) else 0.0
