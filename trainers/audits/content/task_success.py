"""Are the candidates' tasks done as often as by the base model, and no more of them wrongly?

A task can be checked where the facts of the prompt name the topic and what belongs to it: a booking needs a free slot, a status question
the stage, a question about documents the documents. A reply that offers none of these leaves the task open.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from storage.events import GateResult, Message
from trainers.audits.audit import Audit, Finding, Limits, Rows, Share
from trainers.audits.content.facts import DAYS, facts_of
from trainers.audits.content.shares import Shares, compare, lacks_evidence
from trainers.audits.statistics.intervals import paired_shares

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

Outcome = Literal["done", "wrong", "open"]
_TOPIC = re.compile(r"asked about|topic|subject|intent|question", re.I)
_TASKS = {
    "booking": (re.compile(r"interview|appointment|booking|slot|meeting", re.I), re.compile(r"slot|free times?|available", re.I)),
    "status": (re.compile(r"status|stage|progress|application", re.I), re.compile(r"stage|status", re.I)),
    "documents": (re.compile(r"papers?|documents?|files", re.I), re.compile(r"documents?|papers", re.I)),
}
_SLOT = re.compile(rf"\b({DAYS}),?(?: at)? ([01]?\d|2[0-3])[:.h]([0-5]\d)\b")
_DAY = re.compile(rf"\b({DAYS})\b")


class TaskLimits(Limits):
    """Limits in points of the share of checkable tasks, against the base model's, with one-sided ``confidence``.

    Attributes
    ----------
    wrong : more tasks done wrongly
    lost : fewer tasks done; wide, because recruiters may rightly prefer that a task is left open
    confidence : of the bounds
    min_prompts : prompts whose task can be checked; 0 passes a product whose prompts have no such tasks
    """

    wrong: Share = 0.03
    lost: Share = 0.45
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_prompts: Annotated[int, Field(ge=0)] = 200


class Tasks(Finding):
    """Shares of tasks done wrongly, and of tasks not done (wrongly or left open)."""

    wrong: Shares
    undone: Shares


def succeeded(prompt: Sequence[Message], reply: str) -> bool | None:
    """Whether the reply does what was asked for; None where nothing can be checked."""
    found = outcome(prompt, reply)
    return None if found is None else found == "done"


def outcome(prompt: Sequence[Message], reply: str) -> Outcome | None:
    """What became of the prompt's task; None where nothing can be checked."""
    facts = facts_of(prompt)
    topic = next((value for key, value in facts.items() if _TOPIC.search(key)), "")
    for task, (of_topic, of_fact) in _TASKS.items():
        value = next((value for key, value in facts.items() if of_fact.search(key) and not _TOPIC.search(key)), "")
        if of_topic.search(topic) and value:
            return {"booking": _booking, "status": _status, "documents": _documents}[task](prompt, value, reply)
    return None


def _booking(prompt: Sequence[Message], slots: str, reply: str) -> Outcome:
    """Done with one free slot or several, on a day that the candidate asked for if a free one is on that day."""
    free, offered = set(_slots(slots)), _slots(reply)
    asked = {day for day in _DAY.findall(prompt[-1].content) if any(slot.startswith(day) for slot in free)}
    if not offered:
        return "open"
    right = all(slot in free and (not asked or slot.split()[0] in asked) for slot in offered)
    return "done" if right else "wrong"


def _slots(text: str) -> list[str]:
    return [f"{day} {int(hour)}:{minute}" for day, hour, minute in _SLOT.findall(text)]


def _status(prompt: Sequence[Message], stage: str, reply: str) -> Outcome:
    return "done" if stage.casefold() in reply.casefold() else "open"  # another stage than the candidate's is a wrong fact


def _documents(prompt: Sequence[Message], documents: str, reply: str) -> Outcome:
    wanted = [part.strip().casefold() for part in re.split(r"[;,]|\band\b", documents) if part.strip()]
    named = [part for part in wanted if part in reply.casefold()]
    return "done" if len(named) == len(wanted) else "wrong" if named else "open"


def measure(trial: "Trial") -> Tasks:
    """The outcomes of the checkable tasks of the three models."""
    checkable = [i for i, prompt in enumerate(trial.prompts) if outcome(prompt, "") is not None]
    replies = trial.replies
    texts = [replies.challenger[i] for i in checkable]
    outcomes = [[outcome(trial.prompts[i], each[i]) for i in checkable] for each in (replies.challenger, replies.champion, replies.base)]
    wrong = [[["done wrongly"] if found == "wrong" else [] for found in model] for model in outcomes]
    undone = [[[str(found)] if found != "done" else [] for found in model] for model in outcomes]
    return Tasks(wrong=compare(wrong[0], wrong[1], wrong[2], texts), undone=compare(undone[0], undone[1], undone[2], texts))


def gate(found: Tasks, limits: TaskLimits) -> GateResult:
    """Pass when both shares are shown to be less than their limits above the base model's."""
    limit = (
        f"at most {limits.wrong * 100:g} points more done wrongly and {limits.lost * 100:g} points fewer done than by the base model, "
        f"one-sided {limits.confidence:.0%}"
    )
    if missing := lacks_evidence(AUDIT.name, found.undone, limits.min_prompts, limit):
        return missing
    if not found.undone.n:
        words = "No prompt has a task that can be checked, which min_prompts = 0 allows."
        return GateResult(
            name=AUDIT.name, verdict="passed", figure=None, low=None, high=None, n=0, limit=limit, unit="share", words=words
        )  # fmt: skip
    wrong, lost = (paired_shares(each.more or 0, each.fewer or 0, each.n, limits.confidence) for each in (found.wrong, found.undone))
    done, before = 1 - found.undone.challenger, 1 - (found.undone.base or 0.0)
    return GateResult(
        name=AUDIT.name,
        verdict="passed" if wrong.high < limits.wrong and lost.high < limits.lost else "failed",
        figure=-lost.figure,
        low=-lost.high,
        high=-lost.low,
        n=lost.n,
        limit=limit,
        unit="share",
        words=(
            f"The new replies do {done:.0%} of {lost.n} tasks and {found.wrong.challenger:.1%} wrongly; "
            f"the base model's do {before:.0%} and {found.wrong.base:.1%} wrongly. The others leave the task open."
        ),
    )


def rows(found: Tasks) -> Rows:
    return [("Tasks done, champion", f"{1 - found.undone.champion:.1%}"), ("Tasks done wrongly, champion", f"{found.wrong.champion:.1%}")]


AUDIT = Audit("task_success", "Does it do what candidates ask for?", TaskLimits, Tasks, measure, gate, rows)
