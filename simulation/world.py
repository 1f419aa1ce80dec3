"""Dialogues of the simulated world, drawn from hidden records.

``people`` sends their prompts to the chat API and judges by the records; ``base_model.build`` makes its corpus from them; benchmarks use
both without HTTP. Stations of the loop see only the prompts' text.
"""

import dataclasses
import random
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from simulation.checker import Reading, read
from simulation.phrases import GROUPS, Group, Matter, Split, phrases
from simulation.taste import Taste, utility

Message = dict[str, str]  # {"role": …, "content": …}, as the chat API takes it

INSTRUCTION = "Answer the candidate by these facts."
OTHER = "other"  # topic of a question that is about none of the matters
TURNS = (0.65, 0.25, 0.10)  # shares of conversations with one, two and three turns
_MATTERS: dict[str, tuple[Matter, ...]] = {
    "open": ("booking", "booking", "status", "documents", "remote"),
    "offered": ("status", "offer", "documents", "remote"),
    "rejected": ("rejection", "rejection", "documents"),
}
_CHANCES = (0.68, 0.14, 0.18)


@dataclass(frozen=True)
class Record:
    """The true facts of one turn of a conversation, and what the candidate asks in it.

    ``asked_day`` is the day that the candidate wants for a booking; ``group`` is the name's group and appears in no prompt.
    """

    candidate: str
    group: Group
    role: str
    employer: str
    stage: str
    slots: tuple[str, str]
    by: str
    documents: tuple[str, str]
    starts: str
    remote: str
    matter: Matter
    asked_day: str | None = None


@dataclass(frozen=True)
class Conversation:
    """One candidate's conversation: a record for each of its one to three turns, and what the candidate writes in each."""

    conversation_id: str
    records: tuple[Record, ...]
    asks: tuple[str, ...]

    @property
    def candidate(self) -> str:
        return self.records[0].candidate

    def prompt(self, replies: Sequence[str] = ()) -> list[Message]:
        """The chat messages of turn ``len(replies)``, after the chatbot's earlier ``replies``."""
        messages = [facts_message(self.records[len(replies)], {record.matter for record in self.records})]
        for number, ask in enumerate(self.asks[: len(replies) + 1]):
            messages.append({"role": "user", "content": ask})
            if number < len(replies):
                messages.append({"role": "assistant", "content": replies[number]})
        return messages

    def record_of(self, prompt: Sequence[Message]) -> Record:
        """The record behind the last turn of ``prompt``."""
        return self.records[sum(message["role"] == "user" for message in prompt) - 1]


def facts_message(record: Record, matters: Collection[Matter], topic: str | None = None) -> Message:
    """The system message: the instruction, the facts on these matters, one a line, and the topic of the last question.

    The product that sends the prompt knows the topic (its own forms ask for it), so that the model need not guess it. By default it is
    the record's matter.
    """
    lines = [f"Candidate: {record.candidate}", f"Role: {record.role}", f"Employer: {record.employer}", f"Stage: {record.stage}"]
    if "booking" in matters:
        lines.append(f"Free slots: {'; '.join(record.slots)}")
    if "documents" in matters:
        lines.append(f"Documents: {' and '.join(record.documents)}")
    if "offer" in matters:
        lines.append(f"Starts: in {record.starts}")
    if "remote" in matters:
        lines.append(f"Remote: {record.remote}")
    lines += [f"Next news: by {record.by}", f"Asked about: {topic or phrases()['topics'][record.matter]}"]
    return {"role": "system", "content": "\n".join([INSTRUCTION, *lines])}


class World:
    """The world of one seed: its conversations and its recruiters' true taste.

    Parameters
    ----------
    seed
        Decides the true taste. Everything else is drawn from the random stream passed to each function.
    null
        All weights are zero, and recruiters have no tastes of their own: every reply is worth the same to everybody.
    null_panel
        All weights are zero and recruiters keep tastes of their own: the world prefers nothing, a panel of few may.
    plant
        For candidates of the group "south" recruiters reverse their taste for dated next steps.
    drift
        One weight of the true taste changes its sign when ``turn()`` is called.
    """

    def __init__(self, seed: int, *, null: bool = False, null_panel: bool = False, plant: bool = False, drift: bool = False) -> None:
        self.seed, self.null, self.plant, self.drift = seed, null, plant, drift
        self.taste = Taste.draw(seed, null=null or null_panel, plant=plant)

    def turn(self) -> None:
        """Change the taste if this world drifts; only the first call has an effect."""
        if self.drift:
            self.taste, self.drift = self.taste.turned(self.seed), False

    def conversation(self, rng: random.Random, split: Split = "held_out", turns: Literal[1, 2, 3] | None = None) -> Conversation:
        """Draw a conversation with names, employers, roles and questions of ``split``."""
        return draw_conversation(rng, split, turns)

    def true_utility(self, record: Record, reply: str) -> float:
        """The true utility of ``reply``, by the record and the world's taste."""
        return utility(self.taste, record, self.read(record, reply))

    def read(self, record: Record, reply: str) -> Reading:
        """The ground-truth parser's reading of ``reply``; cached."""
        return _read(record, reply)


@lru_cache(maxsize=20_000)
def _read(record: Record, reply: str) -> Reading:
    return read(record, reply)  # cached: several recruiters and the true taste read the same reply


def draw_conversation(rng: random.Random, split: Split, turns: int | None = None) -> Conversation:
    """A conversation from the fixed lists of ``split``; the name's group is independent of everything else."""
    words = phrases()
    group = rng.choice(GROUPS)
    candidate = rng.choice(words["names"][split][group])
    role, employer = rng.choice(words["roles"][split]), rng.choice(words["employers"][split])
    return conversation_about(rng, split, candidate, role, employer, group, turns)


def conversation_about(
    rng: random.Random, split: Split, candidate: str, role: str, employer: str, group: Group = "north", turns: int | None = None
) -> Conversation:
    """A conversation of this candidate, who applied for this role."""
    words = phrases()
    standing = rng.choices(tuple(_MATTERS), _CHANCES)[0]
    *days, by = rng.sample(words["weekdays"], 3)
    hours = rng.sample(words["hours"], 2)
    record = Record(
        candidate=candidate,
        group=group,
        role=role,
        employer=employer,
        stage=rng.choice(words["stages"][standing]),
        slots=(f"{days[0]} {hours[0]}", f"{days[1]} {hours[1]}"),
        by=by,
        documents=tuple(rng.sample(words["documents"], 2)),
        starts=rng.choice(words["months"]),
        remote=rng.choice(words["remote"]),
        matter=rng.choice(_MATTERS[standing]),
    )
    others = [matter for matter in dict.fromkeys(_MATTERS[standing]) if matter != record.matter]
    wanted = turns or rng.choices((1, 2, 3), TURNS)[0]
    matters = [record.matter, *rng.sample(others, min(wanted - 1, len(others)))]
    records, asks = [], []
    for matter in matters:
        day = rng.choice(days) if matter == "booking" and rng.random() < 0.5 else None
        records.append(dataclasses.replace(record, matter=matter, asked_day=day))
        core = rng.choice(words["asks"]["booking_day" if day else matter][split])
        wording = " ".join(part for part in (rng.choice(words["before"][split]), core, rng.choice(words["after"][split])) if part)
        asks.append(wording.format(name=candidate, role=role, employer=employer, day=day))
    return Conversation(f"sim-{uuid.UUID(int=rng.getrandbits(128)).hex}", tuple(records), tuple(asks))
