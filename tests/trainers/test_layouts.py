"""Files that other tools write are read in every file format, and their layout is reported."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InputRefused
from storage.events import Message
from trainers.data.bad_lines import BadLine
from trainers.data.layouts import table
from trainers.data.layouts.layout import Layout, Record
from trainers.data.preference import Preference
from trainers.data.records import layout_of, parse_record, read_preferences, read_records

ASKED = {"role": "user", "content": "When?"}
TOLD = {"role": "system", "content": "Be brief."}
YES, NO = {"role": "assistant", "content": "On Tuesday."}, {"role": "assistant", "content": "Soon."}
PROMPT = (Message(role="user", content="When?"),)
TOLD_PROMPT = (Message(role="system", content="Be brief."), *PROMPT)
GPT = [{"from": "gpt", "value": "On Tuesday."}, {"from": "gpt", "value": "Soon."}]
HUMAN = [{"from": "human", "value": "When?"}]


def pairwise(*sides: str) -> list[dict[str, Any]]:
    compared = {"type": "pairwise", "from_name": "comparison", "to_name": "answer1,answer2"}
    return [{"id": i, "result": [compared | {"value": {"selected": side}}]} for i, side in enumerate(sides)]


LABEL_STUDIO = {"id": 1, "data": {"prompt": "When?", "answer1": "On Tuesday.", "answer2": "Soon."}, "annotations": pairwise("left")}
FIELDS = {"prompt": "When?", "response1": "Soon.", "response2": "On Tuesday."}
RANKED = {"rank": [2, 1], "value": ["response1", "response2"]}
OURS, OPENAI, SHAREGPT, ARGILLA = "prompt, chosen and rejected", "OpenAI's preference format", "ShareGPT's layout", "Argilla's export"

LAYOUTS: list[tuple[str, dict[str, Any], tuple[Message, ...]]] = [
    (OURS, {"prompt": "When?", "chosen": "On Tuesday.", "rejected": "Soon."}, PROMPT),
    (OURS, {"prompt": "When?", "chosen": [TOLD, ASKED, YES], "rejected": [TOLD, ASKED, NO]}, TOLD_PROMPT),
    (OURS, {"prompt": "When?", "chosen": [ASKED, YES], "rejected": [ASKED, NO]}, PROMPT),
    (OPENAI, {"input": {"messages": [TOLD, ASKED], "n": 1}, "preferred_output": [YES], "non_preferred_output": [NO]}, TOLD_PROMPT),
    (SHAREGPT, {"conversations": HUMAN, "chosen": GPT[0], "rejected": GPT[1]}, PROMPT),
    (SHAREGPT, {"system": "Be brief.", "prompt": HUMAN, "chosen": GPT[:1], "rejected": GPT[1:]}, TOLD_PROMPT),
    ("PKU-SafeRLHF", {"prompt": "When?", "response_0": "Soon.", "response_1": "On Tuesday.", "better_response_id": 1}, PROMPT),
    ("SHP", {"history": "When?", "human_ref_A": "Soon.", "human_ref_B": "On Tuesday.", "labels": 0, "score_ratio": 2.5}, PROMPT),
    ("Chatbot Arena's votes", {"conversation_a": [ASKED, NO], "conversation_b": [ASKED, YES], "winner": "model_b", "turn": 1}, PROMPT),
    ("Label Studio's export", LABEL_STUDIO, PROMPT),
    (ARGILLA, {"id": "1", "fields": FIELDS, "responses": {"preference": [{"value": "response2", "user_id": "u"}]}}, PROMPT),
    (ARGILLA, FIELDS | {"better.responses": [["response2", "response1"]], "better.responses.status": ["submitted"]}, PROMPT),
    (ARGILLA, FIELDS | {"better": [{"user_id": "u", "status": "submitted", "value": RANKED}]}, PROMPT),
]


def read(path: Path) -> list[Preference]:
    return [item for _, item in read_records(path) if isinstance(item, Preference)]


@pytest.mark.parametrize(("name", "record", "prompt"), LAYOUTS)
def test_every_layout_is_read_from_lines_arrays_and_parquet(
    tmp_path: Path, name: str, record: dict[str, Any], prompt: tuple[Message, ...]
) -> None:
    files = [tmp_path / each for each in ("data.jsonl", "data.json", "pretty.json", "packed.jsonl.gz", "data.parquet")]
    line = json.dumps(record)
    files[0].write_text(line + "\n" + line)
    files[1].write_text(json.dumps([record, record]))
    files[2].write_text("\ufeff" + json.dumps([record, record], indent=2))
    files[3].write_bytes(gzip.compress((line + "\n" + line).encode()))
    pq.write_table(pa.Table.from_pylist([record, record]), files[4])
    for path in files:
        assert layout_of(path).name == name
        found = read(path)
        assert [(each.prompt, each.chosen, each.rejected) for each in found] == [(prompt, "On Tuesday.", "Soon.")] * 2
        assert {each.choice for each in found} <= {"A", "B"}
        assert read_preferences(path).layout == name


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_is_read_by_its_name_with_quotes_line_breaks_and_empty_cells(tmp_path: Path, separator: str) -> None:
    path = tmp_path / ("data.tsv" if separator == "\t" else "data.csv")
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(["prompt", "chosen", "rejected", "strength", "note"])
        writer.writerow(['Say "when"\nor not', "On, Tuesday;", "Soon.", "3", "ä"])
        writer.writerows([["When?", "On Tuesday.", "", "", ""], ["short"]])
    items = [item for _, item in read_records(path)]
    assert isinstance(items[0], Preference)
    assert (items[0].prompt[0].content, items[0].chosen, items[0].strength) == ('Say "when"\nor not', "On, Tuesday;", 3)
    assert [item.reason for item in items if isinstance(item, BadLine)] == ["rejected is missing", "1 cells, but the header has 5"]


def test_votes_are_counted_and_an_even_split_is_a_tie(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    votes = (("left", "left", "right"), ("left", "right"), ("right",))
    path.write_text(json.dumps([LABEL_STUDIO | {"annotations": pairwise(*sides)} for sides in votes]))
    found = read(path)
    assert [each.choice == "tie" for each in found] == [False, True, False]
    assert [each.chosen for each in (found[0], found[2])] == ["On Tuesday.", "Soon."]
    answers = [{"value": "response2"}, {"value": "response1"}, {"value": "response1", "status": "draft"}]
    path.write_text(json.dumps([{"id": "1", "fields": FIELDS, "responses": {"preference": answers}}]))
    (tied,) = read(path)
    assert (tied.choice, {tied.a, tied.b}) == ("tie", {"On Tuesday.", "Soon."})


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"prompt": "When?", "response_0": "a", "response_1": "b", "better_response_id": 2}, "better_response_id is '2'; expected 0 or 1"),
        ({"history": "When?", "human_ref_A": "a", "human_ref_B": "b"}, "labels is missing"),
        ({"conversation_a": [ASKED, YES], "conversation_b": [ASKED, NO], "winner": "tie (bothbad)"}, "only model_a, model_b and tie"),
        ({"conversation_a": [ASKED, YES], "conversation_b": [TOLD, ASKED, NO], "winner": "model_a"}, "differ before their last reply"),
        (LABEL_STUDIO | {"annotations": []}, "none selects the left or the right text"),
        (LABEL_STUDIO | {"data": {"prompt": "When?", "answer1": "x"}}, "data: answer2 is missing"),
        ({"id": "1", "fields": FIELDS, "responses": {"preference": []}}, "no submitted response says"),
        ({"id": "1", "fields": {"response1": "a", "response2": "b"}, "responses": {"p": []}}, "no field holds the prompt"),
        ({"conversations": [{"from": "tool", "value": "x"}], "chosen": GPT[0], "rejected": GPT[1]}, "a message is from 'tool'"),
        ({"input": "When?", "preferred_output": [YES], "non_preferred_output": [NO]}, "input is a str; expected an object"),
        ({"prompt": "When?", "chosen": [TOLD, ASKED, YES], "rejected": [ASKED, NO]}, "the messages before the reply are not the prompt's"),
    ],
)
def test_the_reason_why_a_record_cannot_be_read_is_named(tmp_path: Path, record: dict[str, Any], words: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps([record]))
    ((_, item),) = read_records(path)
    assert isinstance(item, BadLine)
    assert words in item.reason


def test_text_parts_and_the_role_developer_are_read_as_by_the_chat_api() -> None:
    told = {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief.", "image_url": None}]}
    found = parse_record({"prompt": [told, ASKED], "chosen": [YES], "rejected": [NO | {"tool_calls": None, "name": None}]})
    assert found.prompt == (Message(role="system", content="Be\nbrief."), *PROMPT)
    with pytest.raises(InputRefused, match=r"prompt: 0\.content\.0\.type"):
        parse_record({"prompt": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "chosen": "a", "rejected": "b"})


def test_the_next_layout_is_one_file_and_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_ours(record: Record) -> Preference:
        return Preference.of_replies(PROMPT, record["gut"], record["schlecht"])

    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"gut": "On Tuesday.", "schlecht": "Soon."}))
    assert read(path) == []
    monkeypatch.setattr(table, "LAYOUTS", (*table.LAYOUTS, Layout("ours", (("gut", "schlecht"),), ("gut", "schlecht"), read_ours)))
    assert [each.chosen for each in read(path)] == ["On Tuesday."]
    assert read_preferences(path).layout == "ours"
