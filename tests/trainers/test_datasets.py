"""Preference files: every accepted form is parsed, invalid lines are reported, and the valid ones are read."""

import gzip
from pathlib import Path

import orjson
import pytest

from storage.errors import ConfigurationError, DataRefused, InputRefused
from storage.events import Message
from storage.strata import conversation_of, stratum_of
from trainers.data.bad_lines import BadLine
from trainers.data.preference import Preference
from trainers.data.records import parse_record, read_preferences, read_records

RECORD = {"prompt": "When is my interview?", "chosen": "On Tuesday.", "rejected": "Soon."}


def said(*texts: str) -> tuple[Message, ...]:
    """Messages of user and assistant in turn."""
    return tuple(Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(texts))


def chat(*texts: str) -> list[dict[str, str]]:
    return [message.model_dump() for message in said(*texts)]


def test_a_plain_string_is_one_user_message() -> None:
    record = parse_record(orjson.dumps(RECORD))
    assert record == Preference.of_replies(prompt=said("When is my interview?"), chosen="On Tuesday.", rejected="Soon.")
    assert parse_record(RECORD | {"prompt": "Who said\n\nHuman: hello?"}).prompt == said("Who said\n\nHuman: hello?")


@pytest.mark.parametrize("start", ["", "\n\n"])
def test_a_transcript_becomes_messages(start: str) -> None:
    text = f"{start}Human: Hi\n\nwith two paragraphs\n\nAssistant: Hello: there\n\nHuman: When?\n\nAssistant:"
    assert parse_record(RECORD | {"prompt": text}).prompt == said("Hi\n\nwith two paragraphs", "Hello: there", "When?")


def test_chat_messages_are_taken_as_they_are() -> None:
    prompt = [{"role": "system", "content": "Facts."}, {"role": "user", "content": "When?"}]
    record = parse_record(RECORD | {"prompt": prompt, "chosen": [{"role": "assistant", "content": "On Tuesday."}]})
    assert [message.role for message in record.prompt] == ["system", "user"]
    assert record.chosen == "On Tuesday."
    whole = parse_record(RECORD | {"prompt": chat("When?"), "chosen": chat("When?", "On Tuesday.")})
    assert whole.chosen == "On Tuesday."


def test_without_a_prompt_the_shared_conversation_is_one() -> None:
    record = parse_record({"chosen": chat("When?", "On Tuesday."), "rejected": chat("When?", "Soon.")})
    assert (record.prompt, record.chosen, record.rejected) == (said("When?"), "On Tuesday.", "Soon.")
    transcript = parse_record({"chosen": "\n\nHuman: When?\n\nAssistant: On Tuesday.", "rejected": "\n\nHuman: When?\n\nAssistant: Soon."})
    assert transcript == record


@pytest.mark.parametrize(
    ("line", "field", "reason"),
    [
        (b"{", None, "not JSON"),
        (b'{"prompt": "\xff"}', None, "not JSON"),
        (b"[1]", None, "expected an object"),
        ({"prompt": "x", "rejected": "y"}, "chosen", "missing"),
        (RECORD | {"rejected": None}, "rejected", "missing"),
        (RECORD | {"rejected": "On Tuesday."}, "rejected", "equals chosen"),
        (RECORD | {"chosen": "  "}, "chosen", "chosen"),
        (RECORD | {"chosen": 7}, "chosen", "expected a string"),
        (RECORD | {"chosen": "x" * 70_000}, "chosen", "at most"),
        (RECORD | {"prompt": []}, "prompt", "at least 1"),
        (RECORD | {"prompt": [1]}, "prompt", "prompt"),
        (RECORD | {"prompt": [{"role": "robot", "content": "x"}]}, "prompt", r"^prompt: 0\.role: Input should be [^;]*$"),
        (RECORD | {"prompt": [{"role": "user", "content": float("nan")}]}, "prompt", "content"),
        (b'{"prompt": "x", "chosen": NaN, "rejected": "y"}', "chosen", "chosen is NaN"),
        (b'{"prompt": NaN, "chosen": "x", "rejected": "y"}', "prompt", "prompt is NaN"),
        (b'{"prompt": "q", "chosen": "x", "rejected": "y", "strength": NaN}', "strength", "strength is NaN"),
        (b'{"prompt": "q", "chosen": "x", "rejected": "y", "strength": 1e999}', "strength", "finite"),
        (b'{"prompt": "q", "chosen": "\\ud800", "rejected": "y"}', "chosen", "unicode"),
        (b'{"score": NaN, "chosen": ', None, "not JSON"),
        (b"[" * 100_000, None, "not JSON"),
        (RECORD | {"chosen": chat("Other?", "On Tuesday.")}, "chosen", "not the prompt's"),
        (RECORD | {"chosen": chat("When?")}, "chosen", "has to be the assistant's"),
        (RECORD | {"strength": 9}, "strength", "less than or equal"),
        ({"chosen": "Yes.", "rejected": "No."}, "prompt", "share no conversation"),
    ],
)
def test_what_is_no_record_is_refused_by_field_and_reason(line: object, field: str | None, reason: str) -> None:
    with pytest.raises(InputRefused, match=reason) as refused:
        parse_record(line)  # type: ignore[arg-type]
    assert refused.value.field == field


@pytest.mark.parametrize("empty", [None, [], {}, ""])
def test_empty_fields_of_a_message_are_ignored(empty: object) -> None:
    extras = {"name": empty, "tool_calls": empty, "function_call": empty, "images": empty, "anything": empty}
    prompt = [message | extras for message in chat("When?", "What?", "My interview.")]
    chosen, rejected = ({"role": "assistant", "content": text} | extras for text in ("Tuesday.", "Soon."))
    record = parse_record({"prompt": prompt, "chosen": [chosen], "rejected": [*prompt, rejected]})
    assert record == Preference.of_replies(prompt=said("When?", "What?", "My interview."), chosen="Tuesday.", rejected="Soon.")


def test_a_name_or_a_weight_changes_no_message() -> None:
    prompt = [{"role": "user", "content": "When?", "name": "Jo", "weight": 0, "id": 7}]
    assert parse_record(RECORD | {"prompt": prompt}).prompt == said("When?")


@pytest.mark.parametrize("key", ["tool_calls", "function_call", "refusal", "images"])
@pytest.mark.parametrize("field", ["prompt", "chosen"])
def test_a_message_that_is_more_than_text_is_refused_by_name(key: str, field: str) -> None:
    extra = {key: [{"name": "calendar"}]}
    messages = [message | extra if message["role"] == "assistant" else message for message in chat("When?", "One moment.")]
    record = RECORD | {"prompt": chat("When?")} | {field: messages}
    with pytest.raises(InputRefused, match=rf"{field}\.1 has {key}"):
        parse_record(record)


def test_values_of_other_columns_that_strict_json_refuses_do_not_matter(tmp_path: Path) -> None:
    good = orjson.dumps(RECORD)[1:]
    odd = [b"NaN", b"-Infinity", b"1" + b"0" * 6_000, b"-1e999", b'"\\ud800"', b'{"inner": [NaN]}']
    path = write(tmp_path / "data.jsonl", [b"\xef\xbb\xbf{" + good, *(b'{"other": ' + value + b", " + good for value in odd)])
    data = read_preferences(path)
    assert (len(data.preferences), data.bad.count) == (len(odd) + 1, 0)


def write(path: Path, lines: list[bytes]) -> Path:
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as stream:
        stream.write(b"\n".join(lines))
    return path


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_bad_lines_are_reported_with_their_numbers_and_the_rest_goes_in(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [orjson.dumps(RECORD), b"", b"not json", orjson.dumps(RECORD | {"prompt": "Who?"})])
    data = read_preferences(path)
    assert [preference.prompt[0].content for preference in data.preferences] == ["When is my interview?", "Who?"]
    assert [bad.number for bad in data.bad.first] == [3]
    assert [number for number, item in read_records(path) if not isinstance(item, BadLine)] == [1, 4]


def test_parquet_and_json_lines_give_the_same(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    def reply(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    rows = [{"prompt": chat(f"Question {n}?"), "chosen": reply(f"Answer {n}."), "rejected": reply("No.")} for n in range(9)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data.parquet")
    lines = write(tmp_path / "data.jsonl", [orjson.dumps(row) for row in rows])
    assert read_preferences(tmp_path / "data.parquet") == read_preferences(lines)


def test_only_the_required_columns_of_a_parquet_file_have_to_be_readable(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    far = 316_516_204_800_000  # the year 12000, in milliseconds
    message = [("role", pa.string()), ("content", pa.string()), ("at", pa.timestamp("ms", "UTC")), ("tool_calls", pa.list_(pa.string()))]
    prompt = [[{"role": "user", "content": "When?", "at": far, "tool_calls": None}]] * 2
    table = pa.table(
        {
            "prompt": pa.array(prompt, pa.list_(pa.struct(message))),
            "chosen": ["On Tuesday.", "On Friday."],
            "rejected": ["Soon.", "Soon."],
            "strength": pa.array([3.0, None]),
            "created": pa.array([far, far], pa.timestamp("ms")),
            "nested": pa.array([{"at": far}] * 2, pa.struct([("at", pa.timestamp("ms"))])),
            "prompt.more": pa.array([far, far], pa.timestamp("ms")),
        }
    )
    with pytest.raises((ValueError, OverflowError)):
        table.to_pylist()
    pq.write_table(table, tmp_path / "named_otherwise.pq")
    data = read_preferences(tmp_path / "named_otherwise.pq")
    assert [(c.prompt, c.strength) for c in data.preferences] == [(said("When?"), 3), (said("When?"), None)]
    assert data.bad.count == 0


def test_a_row_whose_text_is_not_utf8_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = pa.StringArray.from_buffers(2, pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0])), pa.py_buffer(b"\xffok"))
    pq.write_table(pa.table({"prompt": ["a", "b"], "chosen": broken, "rejected": ["x", "y"]}), tmp_path / "data.parquet")
    data = read_preferences(tmp_path / "data.parquet")
    assert [c.prompt for c in data.preferences] == [said("b")]
    assert "row 1: chosen cannot be read" in data.bad.as_text()


def test_a_line_too_long_for_memory_is_refused_and_the_next_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.data.files.MAX_LINE_BYTES", 1 << 20)
    path = write(tmp_path / "data.jsonl", [b"[" + b" " * (5 << 20), orjson.dumps(RECORD)])
    data = read_preferences(path)
    assert [bad.number for bad in data.bad.first] == [1]
    assert "longer than 1 MiB" in data.bad.first[0].reason
    assert len(data.preferences) == 1


def test_sides_come_from_the_records_hash_and_strata_from_the_prompt(tmp_path: Path) -> None:
    lines = [orjson.dumps(RECORD | {"prompt": f"Question {n % 50}?", "chosen": f"Answer {n}."}) for n in range(200)]
    preferences = read_preferences(write(tmp_path / "data.jsonl", lines)).preferences
    for preference in preferences:
        assert preference.chosen.startswith("Answer")
        assert preference.rejected == "Soon."
        assert preference.stratum == stratum_of(conversation_of(preference.prompt))
    assert 60 < sum(preference.choice == "A" for preference in preferences) < 140
    assert {c.stratum for c in preferences} == {"training", "evaluation"}


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read_preferences(tmp_path / "none.jsonl")
    for name in ("data.jsonl.gz", "data.parquet"):
        (tmp_path / name).write_bytes(b"neither")
        with pytest.raises(ConfigurationError, match=name):
            read_preferences(tmp_path / name)
    with pytest.raises(DataRefused, match="line 1: not JSON"):
        read_preferences(write(tmp_path / "data.jsonl", [b"nothing"]))
    with pytest.raises(DataRefused, match="it is empty"):
        read_preferences(write(tmp_path / "data.jsonl", []))


def test_a_snapshot_gives_its_judgments_ties_orders_and_strata(tmp_path: Path) -> None:
    from storage.snapshots.snapshot import freeze
    from storage.warehouse.warehouse import Warehouse
    from tests.storage.facts import Log, apply, features, id_of, judgment, pair

    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        apply(warehouse, Log(), *(make(n) for n in range(8) for make in (pair, features)))
        answers = [judgment(n) for n in range(6)]
        apply(warehouse, Log(), *answers, judgment(6, "tie", "r-2", shown_first="B"), judgment(7, "skip"))
        freeze(
            warehouse, tmp_path / "snapshot", run_id=id_of("run"), through_sequence=warehouse.last_sequence, sources=("product",)
        )  # fmt: skip
    found = read_preferences(tmp_path / "snapshot")
    assert found.bad.count == 0
    assert [c.choice for c in found.preferences] == [*(answer.choice for answer in answers), "tie"]
    assert [c.strength for c in found.preferences[:6]] == [answer.strength for answer in answers]
    assert (found.preferences[-1].recruiter, found.preferences[-1].shown_first) == ("r-2", "B")
    for preference, drawn in zip(found.preferences, (pair(n) for n in range(7)), strict=True):
        assert (preference.prompt, preference.a, preference.b) == (drawn.prompt, drawn.a.text, drawn.b.text)
        assert (preference.stratum, preference.conversation_id) == (drawn.stratum, drawn.conversation_id)
