"""Label Studio's export of pairwise comparisons: tasks with data and annotations."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from storage.errors import InputRefused
from trainers.data.layouts.layout import Layout, Record, conversation, of_two, reply, required
from trainers.data.preference import Preference

PROMPTS = ("prompt", "instruction", "question", "query", "input", "text", "context")


def read(record: Record) -> Preference:
    """The majority's choice between the two texts that the ``Pairwise`` tag compares; an even split is a tie.

    The tag names the elements that it compares; the task's data is expected to have the texts under the same names.
    """
    data = required(record, "data")
    if not isinstance(data, Mapping):
        raise InputRefused(f"data is a {type(data).__name__}; expected an object with the texts", "data")
    asked = next((name for name in PROMPTS if data.get(name)), None)
    if asked is None:
        raise InputRefused(f"data: no field holds the prompt; name it {PROMPTS[0]}", "data")
    votes = Counter(_selected(required(record, "annotations")))
    if not votes:
        raise InputRefused("annotations: none selects the left or the right text", "annotations")
    compared = {names for names, _ in votes}
    if len(compared) > 1:
        raise InputRefused("annotations: they compare different texts", "annotations")
    (names,) = compared
    missing = [name for name in names if name not in data]
    if missing:
        raise InputRefused(f"data: {missing[0]} is missing; give the text the name of its element in the labelling interface", "data")
    prompt = conversation(data[asked], f"data.{asked}")
    left, right = (reply(data[name], prompt, f"data.{name}") for name in names)
    difference = votes[names, "left"] - votes[names, "right"]
    return of_two(prompt, left, right, first_preferred=None if difference == 0 else difference > 0)


def _selected(annotations: Any) -> Iterator[tuple[tuple[str, str], str]]:
    """The compared names and the side of each annotation that was not cancelled."""
    for annotation in annotations:
        if not isinstance(annotation, Mapping) or annotation.get("was_cancelled"):
            continue
        for result in annotation.get("result") or ():
            if isinstance(result, Mapping) and result.get("type") == "pairwise":
                names = [name.strip() for name in str(result.get("to_name", "")).split(",")]
                side = (result.get("value") or {}).get("selected")
                if len(names) == 2 and side in ("left", "right"):
                    yield (names[0], names[1]), side


LAYOUT = Layout("Label Studio's export", (("annotations", "data"), ("annotations", "data.*")), ("data", "annotations"), read)
