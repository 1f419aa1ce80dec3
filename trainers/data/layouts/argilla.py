"""Argilla's records: texts in fields, and annotators' answers that rank some of them.

Three forms are in use: records with ``fields`` and ``responses``, tables with columns like ``preference.responses``, and older tables, in
which the question's column holds the answers.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, of_two, reply
from trainers.data.preference import Preference

PROMPTS = ("prompt", "instruction", "question", "query", "input", "history", "conversation")


def read(record: Record) -> Preference:
    """The two texts that most submitted answers rank first and last; an even split is a tie."""
    fields = record["fields"] if isinstance(record.get("fields"), Mapping) else record
    asked = next((name for name in PROMPTS if fields.get(name)), None)
    if asked is None:
        raise InputRefused(f"no field holds the prompt; name it {PROMPTS[0]}", PROMPTS[0])
    votes = Counter(pair for pair in (_ranked(answer, fields) for answer in _answers(record, fields)) if pair is not None)
    if not votes:
        raise InputRefused("no submitted response says which of two texts is better", "responses")
    (first, second), most = votes.most_common(1)[0]
    prompt = conversation(fields[asked], asked)
    even = votes[second, first] == most
    texts = reply(fields[first], prompt, first), reply(fields[second], prompt, second)
    return of_two(prompt, *texts, first_preferred=None if even else True)


def _answers(record: Record, fields: Mapping[str, Any]) -> Iterator[Any]:
    """The values of all submitted answers."""
    responses = record.get("responses")
    if isinstance(responses, Mapping):
        for answers in responses.values():
            yield from (one["value"] for one in answers or () if isinstance(one, Mapping) and one.get("status", "submitted") == "submitted")
        return
    for name, answers in record.items():
        if name.endswith(".responses") and answers is not None:
            statuses = record.get(f"{name}.status") or ["submitted"] * len(answers)
            yield from (value for value, status in zip(answers, statuses, strict=False) if status == "submitted")
        elif isinstance(answers, list | tuple):
            yield from (one["value"] for one in answers if isinstance(one, Mapping) and "value" in one and _submitted(one))


def _submitted(answer: Mapping[str, Any]) -> bool:
    return answer.get("status", "submitted") in ("submitted", None)


def _ranked(value: Any, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """The fields that an answer ranks first and last; it names the better one, lists them in order, or gives each a rank."""
    if isinstance(value, Mapping) and {"rank", "value"} <= value.keys():  # columns of ranks and names
        value = [{"rank": rank, "value": name} for rank, name in zip(value["rank"], value["value"], strict=False)]
    if isinstance(value, list | tuple) and value and all(isinstance(one, Mapping) and "rank" in one for one in value):
        value = [one["value"] for one in sorted(value, key=lambda one: one["rank"])]
    if isinstance(value, str) and value in fields:
        others = [name for name in fields if name != value and _stem(name) == _stem(value)]
        return (value, others[0]) if len(others) == 1 else None
    if isinstance(value, list | tuple) and len(value) >= 2 and value[0] in fields and value[-1] in fields:
        return value[0], value[-1]
    return None


def _stem(name: str) -> str:
    """``response`` of response1, response-2 and response_b."""
    return name.rstrip("0123456789").removesuffix("_a").removesuffix("_b").rstrip("-_ ")


LAYOUT = Layout("Argilla's export", (("fields", "responses"), ("*.responses",), ("*.value", "*.user_id", "*.status")), ("*",), read)
