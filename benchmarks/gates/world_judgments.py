"""Judgments of the simulated world without models or a log: replies of the corpus, judged by its recruiters."""

import random
from typing import NamedTuple

from simulation.corpus import draw_reply
from simulation.recruiters import draw_recruiters
from simulation.world import Conversation, World
from storage.events import Message, Side
from storage.strata import stratum_of
from trainers.data.preference import Preference

SIDES: tuple[Side, Side] = ("A", "B")


class Judged(NamedTuple):
    """Preferences, the recorded groups of their candidates by conversation, and the conversations by id."""

    preferences: list[Preference]
    groups: dict[str, dict[str, str]]
    conversations: dict[str, Conversation]


def judged(world: World, seed: int, *, training: int = 480, evaluation: int = 160, recruiters: int = 12) -> Judged:
    """As many judgments in each stratum as the demo has; every conversation is judged once, in its first turn."""
    rng = random.Random(f"gates {seed}")
    panel = draw_recruiters(world, recruiters)
    room = {"training": training, "evaluation": evaluation}
    found = Judged([], {}, {})
    while any(room.values()):
        conversation = world.conversation(rng)
        stratum = stratum_of(conversation.conversation_id)
        if not room[stratum]:
            continue
        record, prompt = conversation.records[0], conversation.prompt()
        a, b = draw_reply(rng, record), draw_reply(rng, record)
        recruiter, shown_first = rng.choice(panel), rng.choice(SIDES)
        answer = recruiter.judge(record, prompt, a, b, shown_first, rng)
        if a == b or answer.choice not in ("A", "B", "tie"):
            continue
        room[stratum] -= 1
        messages = tuple(Message.model_validate(message) for message in prompt)
        found.preferences.append(
            Preference(
                messages,
                a,
                b,
                answer.choice,
                stratum,
                conversation.conversation_id,
                answer.strength,
                recruiter.name,
                answer.shown_first,
                "simulation",
            )
        )
        found.groups[conversation.conversation_id] = {"race_ethnicity": record.group}
        found.conversations[conversation.conversation_id] = conversation
    return found
