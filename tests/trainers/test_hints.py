"""A rejected file gets a hint at its format; a valid file gets none."""

import json
from pathlib import Path
from typing import Any

import pytest

from trainers.data.hints import hint

GOOD = {"prompt": "When?", "chosen": "On Tuesday.", "rejected": "Soon."}


def written(folder: Path, text: str, name: str = "records.jsonl", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"system": "s", "question": "x", "chosen": "a", "rejected": "b"}, "its records have system, question, chosen, rejected"),
        ({"anweisung": "x", "gut": "a", "schlecht": "b"}, "its records have anweisung, gut, schlecht"),
    ],
)
def test_the_hint_names_the_fields_of_records_on_lines_in_an_array_and_over_several_lines(
    tmp_path: Path, record: dict[str, Any], words: str
) -> None:
    assert words in str(hint(written(tmp_path, json.dumps(record) + "\n" + json.dumps(record))))
    for array in (json.dumps([record, record]), json.dumps([record, record], indent=2)):
        assert words in str(hint(written(tmp_path, array, "records.json")))
    spread = str(hint(written(tmp_path, json.dumps(record, indent=2))))
    assert "over several lines" in spread
    assert words in spread


def test_a_wrong_file_format_is_named_even_if_its_records_are_valid(tmp_path: Path) -> None:
    assert "`jq -c . FILE`" in str(hint(written(tmp_path, json.dumps(GOOD, indent=1))))
    assert "UTF-16" in str(hint(written(tmp_path, json.dumps(GOOD), encoding="utf-16")))


def test_other_columns_of_good_records_give_no_hint(tmp_path: Path) -> None:
    assert hint(written(tmp_path, json.dumps(GOOD | {"conversations": [], "response_0": "a", "response_1": "b"}))) is None


@pytest.mark.parametrize("text", [json.dumps(GOOD), json.dumps({"chosen": "x", "rejected": "y"}), "not json", "", "[1, 2]\n[3]"])
def test_what_is_not_recognised_gets_no_hint(tmp_path: Path, text: str) -> None:
    assert hint(written(tmp_path, text)) is None


def test_a_parquet_file_is_known_by_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([GOOD]), tmp_path / "good.parquet")
    pq.write_table(pa.Table.from_pylist([{"question": "x", "answer": "y"}]), tmp_path / "other.parquet")
    assert hint(tmp_path / "good.parquet") is None
    assert "its records have question, answer" in str(hint(tmp_path / "other.parquet"))
