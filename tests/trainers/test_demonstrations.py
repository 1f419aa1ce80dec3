"""Files of conversations, instructions and ratings are recognised and read; others say what they need."""

import json
from pathlib import Path
from typing import Any

import pytest

from storage.errors import DataRefused
from storage.strata import stratum_of
from tests.trainers.conftest import said
from trainers.data.demonstration import Demonstration
from trainers.data.rating import Rating
from trainers.data.records import read_file, read_preferences


def written(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "records.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


ONE = Demonstration.of_reply(said("When?"), "On Monday.")


@pytest.mark.parametrize(
    "record",
    [
        {"messages": chat("When?", "On Monday.")},
        {"conversations": [{"from": "human", "value": "When?"}, {"from": "gpt", "value": "On Monday."}]},
        {"instruction": "When?", "context": "", "response": "On Monday.", "category": "open_qa"},
        {"instruction": "When?", "input": "", "output": "On Monday."},
        {"prompt": "When?", "completion": "On Monday."},
        {"prompt": chat("When?"), "completion": [{"role": "assistant", "content": "On Monday."}]},
        {"prompt": "When?", "response": "On Monday."},
    ],
)
def test_each_layout_gives_the_same_demonstration(record: dict[str, Any], tmp_path: Path) -> None:
    assert read_file(written(tmp_path, record)).demonstrations == (ONE,)


def test_every_reply_of_a_conversation_is_a_demonstration_of_one_stratum(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Name: Ana"}
    found = read_file(written(tmp_path, {"messages": [system, *chat("When?", "On Monday.", "Where?", "Here.")]})).demonstrations
    assert [each.reply for each in found] == ["On Monday.", "Here."]
    assert [len(each.prompt) for each in found] == [2, 4]
    assert {each.stratum for each in found} == {stratum_of(found[0].conversation_id)}


def test_the_context_comes_before_the_instruction(tmp_path: Path) -> None:
    record = {"instruction": "When?", "context": "Slot: Monday", "response": "On Monday."}
    (found,) = read_file(written(tmp_path, record)).demonstrations
    assert found.prompt == said("Slot: Monday\n\nWhen?")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"messages": chat("When?")}, "no reply of the assistant"),
        ({"messages": [{"role": "assistant", "content": "Hello."}]}, "no reply of the assistant"),
        ({"instruction": "When?", "response": " "}, "response is blank"),
        ({"instruction": None, "response": "Yes."}, "instruction is missing"),
    ],
)
def test_a_bad_record_says_what_is_wrong(record: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match=words):
        read_file(written(tmp_path, record))


@pytest.mark.parametrize("label", [True, 1, "true"])
def test_ratings_are_read(label: object, tmp_path: Path) -> None:
    found = read_file(written(tmp_path, {"prompt": "When?", "completion": "On Monday.", "label": label}))
    assert found.ratings == (Rating.of_reply(said("When?"), "On Monday.", good=True),)
    bad = read_file(
        written(tmp_path, {"prompt": "When?", "completion": "a", "label": "maybe"}, {"prompt": "x", "completion": "a", "label": False})
    )
    assert [line.reason for line in bad.bad.first] == ["label is 'maybe'; expected true or false"]


@pytest.mark.parametrize(
    ("record", "phase"), [({"messages": chat("When?", "On Monday.")}, "sft"), ({"prompt": "x", "completion": "a", "label": True}, "kto")]
)
def test_where_preferences_are_needed_other_records_are_refused_with_their_phase(
    record: dict[str, Any], phase: str, tmp_path: Path
) -> None:
    with pytest.raises(DataRefused, match=f"`feedbackloop train --phase {phase}`"):
        read_preferences(written(tmp_path, record))
