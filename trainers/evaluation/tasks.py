"""How often is the candidate's task done, in conversations whose truth is known?

The audit ``task_success`` reads a task and its facts from real prompts. Here the conversations come from whoever knows the truth, such as
the simulated world, which nothing in this package may import; so they are passed in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from storage.events import Message
from trainers.audits.statistics.intervals import Interval
from trainers.evaluation import intervals
from trainers.evaluation.measure import Measure, Measured, Model, Names, Rows, with_bounds

if TYPE_CHECKING:
    from trainers.evaluation.subject import Subject


@dataclass(frozen=True)
class TaskSet:
    """Prompts with a task each; ``done(i, reply)`` says whether the reply does the task of prompt ``i``. ``world`` says whose they are."""

    prompts: tuple[tuple[Message, ...], ...]
    done: Callable[[int, str], bool]
    world: str


class TaskSuccess(Measured):
    """Shares of tasks done with exact intervals, and the challenger's minus the others' on the same conversations with bootstrap ones."""

    world: str
    conversations: int
    challenger: Interval
    champion: Interval
    base: Interval
    over_champion: Interval
    over_base: Interval


def measure(subject: "Subject") -> TaskSuccess | None:
    """None where no tasks were passed in."""
    tasks = subject.tasks
    if tasks is None or not tasks.prompts:
        return None
    replies = subject.replies(tasks.prompts, range(len(tasks.prompts)))
    done = {name: [tasks.done(i, text) for i, text in enumerate(texts)] for name, texts in replies.items()}

    def over(other: Model) -> Interval:
        differences = np.array(done["challenger"], float) - np.array(done[other], float)
        return intervals.mean(differences, subject.settings.resamples, subject.settings.seed)

    return TaskSuccess(
        world=tasks.world,
        conversations=len(tasks.prompts),
        challenger=intervals.share(done["challenger"]),
        champion=intervals.share(done["champion"]),
        base=intervals.share(done["base"]),
        over_champion=over("champion"),
        over_base=over("base"),
    )


def rows(found: TaskSuccess, names: Names) -> Rows:
    return [
        (f"Tasks done in {found.world}, {names.challenger}", with_bounds(found.challenger)),
        (f"Tasks done in {found.world}, {names.champion}", with_bounds(found.champion)),
        ("  difference", f"{with_bounds(found.over_champion, '+.3f')}, on {found.conversations} conversations"),
    ]


MEASURE = Measure("tasks", TaskSuccess, measure, rows)
