"""The simulated world's chats and judgments as a frozen snapshot, made in one process through the real warehouse.

What the demo does over HTTP, for benchmarks that need many seeds: the same world, recruiters, base model, embedding, join and freeze.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from simulation.outcomes import recorded
from simulation.recruiters import Recruiter
from simulation.world import Conversation, World
from storage.events import (
    Event,
    GroupsRecorded,
    JudgmentGiven,
    Message,
    OutcomeRecorded,
    PairDrawn,
    PairEmbedded,
    ReplySent,
    Response,
    Sampling,
    Side,
    derived_id,
    pack,
)
from storage.snapshots.snapshot import freeze
from storage.strata import stratum_of
from storage.warehouse.entries import Partition
from storage.warehouse.warehouse import Warehouse
from streams.bus.topics import TOPIC_OF
from streams.pseudonyms import pseudonym
from trainers.features.embedder import Embedder
from trainers.models.engine import generate
from trainers.models.policy import Policy

START = datetime(2026, 1, 1, tzinfo=UTC)  # a fixed clock: the same seed gives the same bytes
KEY = b"a fixed key for the pseudonyms of simulated candidates"
SIDES: tuple[Side, Side] = ("A", "B")
SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=128)


@dataclass(frozen=True)
class Plan:
    """How much is drawn: judgments of the training stratum, and the share of replies that become pairs."""

    training_judgments: int = 480
    recruiters: int = 12
    paired: float = 0.19
    minimum_prompts: int = 900  # of the evaluation stratum; chats go on until there are as many


def simulate(
    seed: int, world: World, plan: Plan, policy: Policy, embedder: Embedder, folder: Path, say: Callable[[str], None]
) -> tuple[Path, dict[str, Conversation]]:
    """Fill a warehouse in ``folder`` and freeze it.

    Returns
    -------
    The snapshot's folder, and the conversations behind its prompts by id, for who may know the truth.
    """
    rng = random.Random(f"benchmark {seed}")
    recruiters = [Recruiter.draw(world, number) for number in range(plan.recruiters)]
    conversations: dict[str, Conversation] = {}
    events: list[Event] = []
    trained = evaluated = rounds = 0
    while trained < plan.training_judgments or evaluated < plan.minimum_prompts:
        started, rounds = time.monotonic(), rounds + 1
        drawn = [world.conversation(rng) for _ in range(400)]
        conversations |= {c.conversation_id: c for c in drawn}
        pairs, replies = _chat(drawn, plan, policy, rng, seed * 1000 + rounds, full=trained < plan.training_judgments)
        events += replies
        evaluated += sum(reply.stratum == "evaluation" for reply in replies)
        judgments = _judge(pairs, conversations, recruiters, rng) if trained < plan.training_judgments else []
        room = plan.training_judgments - trained
        for pair, judgment in judgments:
            learnt = pair.stratum == "training" and judgment.choice in ("A", "B", "tie")
            if learnt and room == 0:
                break
            room -= learnt
            trained += learnt
            events += [pair, judgment]
        say(f"seed {seed}: {evaluated} prompts, {trained} training judgments ({time.monotonic() - started:.0f} s)")
    events += [event for conversation in conversations.values() for event in _recorded(conversation)]
    events += _embedded([event for event in events if isinstance(event, PairDrawn)], embedder)
    with Warehouse.open(folder / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        _apply(warehouse, events)
        snapshot = folder / "snapshot"
        freeze(warehouse, snapshot, run_id=derived_id("benchmark", seed), through_sequence=warehouse.last_sequence, sources=("simulation",))
    return snapshot, conversations


def _chat(
    drawn: Sequence[Conversation], plan: Plan, policy: Policy, rng: random.Random, seed: int, *, full: bool
) -> tuple[list[PairDrawn], list[ReplySent]]:
    """Let the base model answer, turn by turn; replies that nothing will look at (training stratum, not paired) are not drawn."""
    flags = {c.conversation_id: [full and rng.random() < plan.paired for _ in c.asks] for c in drawn}
    histories: dict[str, list[str]] = {c.conversation_id: [] for c in drawn}
    pairs: list[PairDrawn] = []
    replies: list[ReplySent] = []
    for turn in range(3):
        asked = [
            c
            for c in drawn
            if len(c.asks) > turn and (stratum_of(c.conversation_id) == "evaluation" or any(flags[c.conversation_id][turn:]))
        ]
        prompts = {c.conversation_id: _messages(c, histories[c.conversation_id]) for c in asked}
        firsts = generate(policy, [prompts[c.conversation_id] for c in asked], SAMPLING, seed=seed * 10 + turn)
        paired = [(c, first) for c, first in zip(asked, firsts, strict=True) if flags[c.conversation_id][turn]]
        seconds = generate(policy, [prompts[c.conversation_id] for c, _ in paired], SAMPLING, seed=seed * 10 + turn + 5)
        for conversation, reply in zip(asked, firsts, strict=True):
            histories[conversation.conversation_id].append(reply)
            if reply.strip():
                replies.append(_reply(conversation, turn, prompts[conversation.conversation_id], reply))
        for (conversation, first), second in zip(paired, seconds, strict=True):
            if first != second and first.strip() and second.strip():
                pairs.append(_pair(conversation.conversation_id, turn, prompts[conversation.conversation_id], first, second, plan.paired))
    return pairs, replies


def _judge(
    pairs: Iterable[PairDrawn], conversations: dict[str, Conversation], recruiters: Sequence[Recruiter], rng: random.Random
) -> list[tuple[PairDrawn, JudgmentGiven]]:
    judged = []
    for pair in pairs:
        recruiter, shown_first = rng.choice(recruiters), rng.choice(SIDES)
        prompt = [message.model_dump() for message in pair.prompt]
        record = conversations[pair.conversation_id].record_of(prompt)
        answer = recruiter.judge(record, prompt, pair.a.text, pair.b.text, shown_first, rng)
        judgment = JudgmentGiven(
            event_id=derived_id("judgment", pair.pair_id, recruiter.name),
            occurred_at=pair.occurred_at + timedelta(seconds=60),
            source="simulation",
            pair_id=pair.pair_id,
            recruiter=recruiter.name,
            choice=answer.choice,
            strength=answer.strength,
            reason=answer.reason,
            shown_first=answer.shown_first,
            seconds=answer.seconds,
        )
        judged.append((pair, judgment))
    return judged


def _embedded(pairs: Sequence[PairDrawn], embedder: Embedder) -> list[PairEmbedded]:
    features = embedder.features([(pair.prompt, text) for pair in pairs for text in (pair.a.text, pair.b.text)])
    return [
        PairEmbedded(
            event_id=derived_id("embedded", pair.pair_id, embedder.hash),
            occurred_at=pair.occurred_at,
            source="simulation",
            pair_id=pair.pair_id,
            embedding=embedder.name,
            embedding_hash=embedder.hash,
            a=pack(features[2 * number]),
            b=pack(features[2 * number + 1]),
        )
        for number, pair in enumerate(pairs)
    ]


def _apply(warehouse: Warehouse, events: Sequence[Event]) -> None:
    offsets: dict[str, int] = {}
    for start in range(0, len(events), 500):
        batch = []
        for event in events[start : start + 500]:
            topic = TOPIC_OF[type(event)].name
            offsets[topic] = offsets.get(topic, -1) + 1
            batch.append((Partition(topic, 0), offsets[topic], event))
        warehouse.apply(batch)


def _messages(conversation: Conversation, history: Sequence[str]) -> tuple[Message, ...]:
    return tuple(Message.model_validate(message) for message in conversation.prompt(history))


def _reply(conversation: Conversation, turn: int, prompt: tuple[Message, ...], text: str) -> ReplySent:
    return ReplySent(
        event_id=derived_id("reply", conversation.conversation_id, turn),
        occurred_at=START,
        source="simulation",
        conversation_id=conversation.conversation_id,
        candidate=pseudonym(KEY, "candidate", conversation.candidate),
        prompt=prompt,
        reply=text,
        version="base",
        sampling=SAMPLING,
        stratum=stratum_of(conversation.conversation_id),
    )


def _recorded(conversation: Conversation) -> list[Event]:
    """The candidate's group and outcome, as the product records them."""
    body = recorded(conversation)
    common: dict[str, Any] = {"occurred_at": START, "source": "simulation", "candidate": pseudonym(KEY, "candidate", body["candidate"])}
    event_id = derived_id("groups", conversation.conversation_id)
    events: list[Event] = [GroupsRecorded(event_id=event_id, groups=body["groups"], **common)]
    if "outcome" in body:
        event_id = derived_id("outcome", conversation.conversation_id)
        events.append(OutcomeRecorded(event_id=event_id, decided_at=START, **body["outcome"], **common))
    return events


def _pair(conversation_id: str, turn: int, prompt: tuple[Message, ...], first: str, second: str, probability: float) -> PairDrawn:
    return PairDrawn(
        event_id=derived_id("drawn", conversation_id, turn),
        occurred_at=START,
        source="simulation",
        pair_id=derived_id("pair", conversation_id, turn),
        conversation_id=conversation_id,
        prompt=prompt,
        a=Response(text=first, version="base"),
        b=Response(text=second, version="base"),
        drawn="sampled",
        probability=probability,
        stratum=stratum_of(conversation_id),
    )
