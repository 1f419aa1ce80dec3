"""Records from outside: each accepted form means what it says, each bad line is named, and the rest goes in."""

import gzip
from pathlib import Path

import orjson
import pytest

from storage.errors import ConfigurationError, DataRefused, InputRefused
from storage.events import Message
from storage.strata import conversation_of, stratum_of
from trainers.datasets import BadLine, PreferenceRecord, parse_record, read_preferences, read_records

RECORD = {"prompt": "When is my interview?", "chosen": "On Tuesday.", "rejected": "Soon."}


def said(*texts: str) -> tuple[Message, ...]:
    """Messages of user and assistant in turn."""
    return tuple(Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(texts))


def chat(*texts: str) -> list[dict[str, str]]:
    return [message.model_dump() for message in said(*texts)]


def test_a_plain_string_is_one_user_message() -> None:
    record = parse_record(orjson.dumps(RECORD))
    assert record == PreferenceRecord(prompt=said("When is my interview?"), chosen="On Tuesday.", rejected="Soon.")
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
        (RECORD | {"prompt": [{"role": "robot", "content": "x"}]}, "prompt", "role"),
        (RECORD | {"prompt": [1]}, "prompt", "prompt"),
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


def write(path: Path, lines: list[bytes]) -> Path:
    with gzip.open(path, "wb") if path.suffix == ".gz" else path.open("wb") as stream:
        stream.write(b"\n".join(lines))
    return path


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
def test_bad_lines_are_reported_with_their_numbers_and_the_rest_goes_in(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [orjson.dumps(RECORD), b"", b"not json", orjson.dumps(RECORD | {"prompt": "Who?"})])
    data = read_preferences(path)
    assert [comparison.prompt[0].content for comparison in data.comparisons] == ["When is my interview?", "Who?"]
    assert [bad.number for bad in data.bad] == [3]
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


def test_sides_come_from_the_records_hash_and_strata_from_the_prompt(tmp_path: Path) -> None:
    lines = [orjson.dumps(RECORD | {"prompt": f"Question {n % 50}?", "chosen": f"Answer {n}."}) for n in range(200)]
    comparisons = read_preferences(write(tmp_path / "data.jsonl", lines)).comparisons
    for comparison in comparisons:
        chosen, rejected = (comparison.a, comparison.b) if comparison.choice == "A" else (comparison.b, comparison.a)
        assert chosen.startswith("Answer")
        assert rejected == "Soon."
        assert comparison.stratum == stratum_of(conversation_of(comparison.prompt))
    assert 60 < sum(comparison.choice == "A" for comparison in comparisons) < 140
    assert {c.stratum for c in comparisons} == {"training", "evaluation"}


def test_files_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read_preferences(tmp_path / "none.jsonl")
    for name in ("data.jsonl.gz", "data.parquet"):
        (tmp_path / name).write_bytes(b"neither")
        with pytest.raises(ConfigurationError, match=name):
            read_preferences(tmp_path / name)
    with pytest.raises(DataRefused, match="line 1: not JSON"):
        read_preferences(write(tmp_path / "data.jsonl", [b"nothing"]))


def test_a_snapshot_gives_its_judgments_ties_orders_and_strata(tmp_path: Path) -> None:
    from storage.snapshots import freeze
    from storage.warehouse import Warehouse
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
    assert found.bad == ()
    assert [c.choice for c in found.comparisons] == [*(answer.choice for answer in answers), "tie"]
    assert [c.strength for c in found.comparisons[:6]] == [answer.strength for answer in answers]
    assert (found.comparisons[-1].recruiter, found.comparisons[-1].shown_first) == ("r-2", "B")
    for comparison, drawn in zip(found.comparisons, (pair(n) for n in range(7)), strict=True):
        assert (comparison.prompt, comparison.a, comparison.b) == (drawn.prompt, drawn.a.text, drawn.b.text)
        assert (comparison.stratum, comparison.conversation_id) == (drawn.stratum, drawn.conversation_id)
