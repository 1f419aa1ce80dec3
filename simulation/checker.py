"""The ground-truth parser: checks a reply's text against the hidden record.

Simulated recruiters judge by it, and benchmarks measure with it. It reads any text; no station of the loop may import it.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.phrases import phrases

if TYPE_CHECKING:
    from simulation.world import Record


@dataclass(frozen=True)
class Reading:
    """Properties of one reply. ``success`` is None if the matter is not a checkable task."""

    concrete: bool
    dated: bool
    warm: bool
    question: bool
    filler: int
    success: bool | None
    wrong_facts: tuple[str, ...]
    unlawful: int


ATTRIBUTES = ("concrete", "dated", "warm", "question")


def read(record: "Record", reply: str) -> Reading:
    """Parse ``reply`` against ``record``."""
    sentences = re.findall(r"[^.!?]+[.!?]*", reply)
    unlawful = [s for s in sentences if _UNLAWFUL.search(s)]
    wrong = tuple(_wrong_facts(record, reply))
    named = _named(record, reply)
    return Reading(
        concrete=named,
        dated=bool(re.search(rf"\bby ({_DAYS})\b", reply)),
        warm=bool(_WARM.search(reply)),
        question=any(s.endswith("?") and not _UNLAWFUL.search(s) for s in sentences),
        filler=sum(bool(_FILLER.search(s)) for s in sentences),
        success=_success(record, reply, named and not wrong),
        wrong_facts=wrong,
        unlawful=len(unlawful),
    )


def _named(record: "Record", reply: str) -> bool:
    """Whether the reply names the fact that was asked for, correctly or not."""
    match record.matter:
        case "booking":
            return bool(_SLOT.search(reply))
        case "status":
            return bool(_STAGE.search(reply))
        case "offer":
            return bool(_MONTH.search(reply))
        case "documents":
            return bool(_DOCUMENT.search(reply))
        case "remote":
            return bool(_REMOTE.search(reply))
        case "rejection":
            return record.role in reply or record.employer in reply


def _success(record: "Record", reply: str, sound: bool) -> bool | None:
    """A booking needs the right name, role, day and hour in a free slot (on the day asked for); a status question needs the stage."""
    if record.matter == "booking":
        booked = {f"{day} {hour}" for day, hour in _SLOT.findall(reply)}
        day_right = record.asked_day is None or all(slot.startswith(record.asked_day) for slot in booked)
        return sound and len(booked) == 1 and day_right and record.role in reply and record.candidate in reply
    if record.matter == "status":
        return sound and record.stage in reply
    return None


def _wrong_facts(record: "Record", reply: str) -> list[str]:
    """Facts that the reply states and the record does not."""
    wrong = [f"{day} {hour}" for day, hour in _SLOT.findall(reply) if f"{day} {hour}" not in record.slots]
    rest = _SLOT.sub("", reply)
    wrong += [hour for hour in re.findall(r"\b\d{1,2}:\d\d\b", rest) if not any(slot.endswith(f" {hour}") for slot in record.slots)]
    wrong += [f"by {day}" for day in re.findall(rf"\bby ({_DAYS})\b", rest) if day != record.by]
    rest = re.sub(rf"\bby ({_DAYS})\b", "", rest)
    wrong += [day for day in re.findall(rf"\b({_DAYS})\b", rest) if not any(slot.startswith(day) for slot in record.slots)]
    wrong += [stage for stage in _STAGE.findall(reply) if stage != record.stage]
    wrong += [month for month in _MONTH.findall(reply) if month != record.starts]
    wrong += [document for document in _DOCUMENT.findall(reply) if document not in record.documents]
    wrong += [f"{days} a week" for days in _REMOTE.findall(reply) if days != record.remote]
    return wrong + [title for title in _titles(rest) if title not in (record.candidate, record.role, record.employer)]


def _titles(text: str) -> list[str]:
    """Runs of capitalised words inside sentences: names of people, roles and employers, right or garbled."""
    found: list[str] = []
    for sentence in re.findall(r"[^.!?]+", text):
        inside = re.sub(r"^\s*\S+", "", sentence)
        found += [run for run in re.findall(r"\b[A-Z][\w'-]*(?: [A-Z][\w'-]*)*", inside) if run not in _CAPITALISED]
    return found


def _any_of(words: list[str]) -> str:
    return "|".join(sorted(map(re.escape, words), key=len, reverse=True))


_WORDS = phrases()
_DAYS = _any_of(_WORDS["weekdays"])
_CAPITALISED = {"I", "English", *_WORDS["weekdays"], *_WORDS["months"]}
_SLOT = re.compile(rf"\b({_DAYS}),? (?:at )?(\d{{1,2}}:\d\d)\b")
_STAGE = re.compile(rf"\b({_any_of([stage for stages in _WORDS['stages'].values() for stage in stages])})\b")
_MONTH = re.compile(rf"\b({_any_of(_WORDS['months'])})\b")
_DOCUMENT = re.compile(rf"\b({_any_of(_WORDS['documents'])})\b")
_REMOTE = re.compile(r"\b((?:\w+) days?) a week\b")
_WARM = re.compile(r"so much|lovely|so glad|hope you are well|your patience|truly sorry|grateful|delighted|warm(?:ly|est)|wonderful", re.I)
_FILLER = re.compile(r"as they say|journey|happy family|new chances|great things|take time|at our heart|dynamic|exciting times", re.I)
_UNLAWFUL = re.compile(
    r"\bchildren\b|\bhow old\b|\bpregnan|\breligion\b|\bmarried\b|\bdisab(?:led|ility)\b|\bI promise\b|\bguarantee\b|\bcertainly get\b",
    re.I,
)
