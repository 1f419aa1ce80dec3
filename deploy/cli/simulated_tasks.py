"""Conversations of the simulated world with a task whose success its ground-truth checker decides.

Their names, employers, roles and questions are those that the shipped model was not trained on. The models see the prompts only.
"""

import random

from simulation.checker import read
from simulation.world import Record, draw_conversation
from storage.events import Message
from trainers.evaluation.tasks import TaskSet

WORLD = "the simulated world"
CHECKABLE = ("booking", "status")


def simulated_tasks(count: int, seed: int) -> TaskSet:
    """``count`` conversations of one turn: a booking needs name, role, day and hour right and a free slot, a status question the stage."""
    rng = random.Random(f"tasks of an evaluation {seed}")
    prompts: list[tuple[Message, ...]] = []
    records: list[Record] = []
    while len(prompts) < count:
        conversation = draw_conversation(rng, "held_out", 1)
        if conversation.records[0].matter in CHECKABLE:
            records.append(conversation.records[0])
            prompts.append(tuple(Message.model_validate(message) for message in conversation.prompt()))

    def done(i: int, reply: str) -> bool:
        return read(records[i], reply).success is True

    return TaskSet(tuple(prompts), done, WORLD)
