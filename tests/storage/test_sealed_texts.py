"""Sealed texts open under their key only, repeat to the byte, and are as valid in an event as the text."""

import base64
import os
import re
import sqlite3
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from storage.errors import ConfigurationError, TextLost
from storage.events import MAX_TEXT, Text, Vector, pack
from storage.events.fields import MAX_NAME, MAX_TOKEN, Group
from storage.events.tokens import MARK, TOKEN
from storage.events.wire import decode, encode
from storage.settings import Common, Settings
from storage.texts.keys import SQLiteTextKeys, text_keys
from storage.texts.sealed import GROUP_BYTES, Cipher, TextKey, group_bytes, kid_of, said_by
from storage.texts.texts import PLAIN, Texts
from storage.warehouse.rows import row_of
from tests.storage.facts import features, one_of_each, pair, reply, sealed

TEXT: TypeAdapter[str] = TypeAdapter(Text)
VECTOR: TypeAdapter[str] = TypeAdapter(Vector)
GROUP: TypeAdapter[str] = TypeAdapter(Group)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)


@pytest.fixture
def keys(tmp_path: Path) -> SQLiteTextKeys:
    return SQLiteTextKeys(tmp_path / "text-keys.sqlite")


def added(keys: SQLiteTextKeys) -> TextKey:
    key = TextKey.new()
    keys.add([key])
    return key


@given(text=TEXTS, other=TEXTS)
def test_a_text_comes_back_under_its_key_and_gives_the_same_token_again(text: str, other: str) -> None:
    key = TextKey.new()
    token = Cipher(key).seal(text.encode(), "t")
    assert Cipher(key).open(token).decode() == text
    assert Cipher(key).seal(text.encode(), "t") == token
    assert (Cipher(key).seal(other.encode(), "t") == token) == (other == text)
    assert Cipher(TextKey.new()).seal(text.encode(), "t") != token
    assert kid_of(token) == key.kid
    assert TOKEN.fullmatch(token)
    assert len(text) < 8 or text not in token


@given(text=TEXTS, at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_token_does_not_open(text: str, at: int, bit: int) -> None:
    key = TextKey.new()
    token = Cipher(key).seal(text.encode(), "t")
    body = bytearray(base64.b64decode(token[21:]))
    body[at % len(body)] ^= 1 << bit
    with pytest.raises(TextLost, match="was altered"):
        Cipher(key).open(token[:21] + base64.b64encode(body).decode())


def test_a_token_opens_neither_under_another_key_nor_as_another_kind() -> None:
    key = TextKey.new()
    token = Cipher(key).seal(b"Dear Rosa", "t")
    for cipher, told in (
        (Cipher(TextKey.new()), token),
        (Cipher(key._replace(kid="another-id-16-ch")), token),
        (Cipher(key), token.replace("t1", "v1", 1)),
        (Cipher(key), token[:30]),
    ):
        with pytest.raises(TextLost):
            cipher.open(told)


def test_the_length_of_a_sealed_group_does_not_say_which_it_is() -> None:
    cipher = Cipher(TextKey.new())
    tokens = [cipher.seal(group_bytes("sex", group), "g") for group in ("male", "female", "x" * GROUP_BYTES)]
    assert len({len(token) for token in tokens}) == 1
    assert cipher.seal(group_bytes("age", "male"), "g") != tokens[0]
    assert GROUP.validate_python(cipher.seal(group_bytes("a" * 128, "\U0001f600" * MAX_NAME), "g"))
    assert [said_by(token, cipher.open(token)) for token in tokens] == ["male", "female", "x" * GROUP_BYTES]


def test_a_key_does_not_show_its_secret() -> None:
    key = TextKey.new()
    assert key.secret.hex() not in f"{key} {key!r}"
    assert repr(key.secret)[2:-1] not in f"{key} {key!r}"


def test_the_longest_text_fits_into_an_event_when_sealed_and_no_plain_one_is_longer() -> None:
    token = Cipher(TextKey.new()).seal(("\U0001f600" * MAX_TEXT).encode(), "t")
    assert MAX_TEXT < len(token) <= MAX_TOKEN
    assert TEXT.validate_python(token) == token
    with pytest.raises(ValidationError, match=f"at most {MAX_TEXT} characters"):
        TEXT.validate_python("x" * (MAX_TEXT + 1))


@pytest.mark.parametrize(
    "typed", [MARK, f"{MARK}t1:", f"{MARK}t1:{'k' * 16}:not base64", f"{MARK}x1:{'k' * 16}:AAAA", f"{MARK} {'a' * 99}"]
)
def test_what_begins_like_a_token_and_is_none_is_neither_text_nor_vector_nor_group(typed: str) -> None:
    for adapter in (TEXT, VECTOR, GROUP):
        with pytest.raises(ValidationError, match=r"U\+0002"):
            adapter.validate_python(typed)


@pytest.mark.parametrize(
    "event",
    [reply(1), pair(1), features(1), *(e for e in one_of_each() if e.kind in ("ResponseRated", "ResponseEdited", "GroupsRecorded"))],
)
def test_a_sealed_event_passes_the_wire_and_opens_to_what_it_was(event: Any, keys: SQLiteTextKeys) -> None:
    closed = decode(encode(sealed(event, added(keys))))
    assert closed != event
    assert Texts(keys).event(closed) == event
    assert PLAIN.event(event) is event
    with pytest.raises(TextLost, match="no key store was given"):
        PLAIN.event(closed)


def test_rows_and_tables_open_in_place(keys: SQLiteTextKeys) -> None:
    key, texts = added(keys), Texts(keys)
    events = [pair(1), sealed(pair(2), key)]
    rows = [row_of(event) for event in events]
    plain = [row_of(pair(1)), row_of(pair(2))]
    assert [texts.row(row) for row in rows] == plain
    names = ("conversation_id", "prompt", "a_text", "b_text", "priority")
    table = pa.Table.from_pylist([{name: row[name] for name in names} for row in rows])
    assert texts.table(table).to_pylist() == [{name: row[name] for name in names} for row in plain]
    vector = pack(np.array([1.0, -2.5]))
    token = texts.sealed_like(vector, rows[1]["a_text"])
    assert (texts.opened(token), texts.sealed_like(vector, rows[0]["a_text"])) == (vector, vector)
    assert kid_of(token) == key.kid


def test_rows_with_a_lost_text_are_left_out_of_a_table_and_never_without_a_key_store(
    keys: SQLiteTextKeys, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row_of(event) for event in (pair(1), sealed(pair(2), TextKey.new()), sealed(pair(3), added(keys)))]
    table = pa.Table.from_pylist([{name: row[name] for name in ("prompt", "a_text", "priority")} for row in rows])
    opened = Texts(keys).table(table)
    assert opened["a_text"].to_pylist() == [pair(1).a.text, pair(3).a.text]
    assert "1 of 3 rows are left out" in caplog.text
    with pytest.raises(TextLost):
        Texts(keys).row(rows[1])
    with pytest.raises(TextLost, match="no key store"):
        PLAIN.table(table)


def test_a_prompt_that_only_speaks_of_the_mark_stays_as_it_is(keys: SQLiteTextKeys) -> None:
    row = {"prompt": r'[{"role":"user","content":"What is \\u0002?"}]', "reply": r"\u0002"}
    assert Texts(keys).row(row) == row


def test_a_destroyed_key_is_in_no_file_and_opens_nothing(keys: SQLiteTextKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("storage.texts.texts.time.monotonic", lambda: now[0])
    gone, kept = added(keys), added(keys)
    tokens = [Cipher(key).seal(b"Dear Rosa", "t") for key in (gone, kept)]
    texts = Texts(keys)
    now[0] += 10
    assert [texts.opened(token) for token in tokens] == ["Dear Rosa"] * 2
    keys.destroy([gone.kid])
    keys.destroy([gone.kid, "never-was"])
    now[0] += 1.1
    with pytest.raises(TextLost, match=re.escape(gone.kid)):
        texts.opened(tokens[0])
    assert texts.opened(tokens[1]) == "Dear Rosa"
    held = {secret: [file.name for file in tmp_path.iterdir() if secret in file.read_bytes()] for secret in (gone.secret, kept.secret)}
    assert held == {gone.secret: [], kept.secret: ["text-keys.sqlite"]}


def test_keys_are_readable_by_their_owner_only_and_shared_by_processes(tmp_path: Path) -> None:
    here, elsewhere = (SQLiteTextKeys(tmp_path / "home" / "text-keys.sqlite") for _ in range(2))
    made = [TextKey.new() for _ in range(100)]

    def add(keys: SQLiteTextKeys, some: list[TextKey]) -> None:
        for key in some:
            keys.add([key])

    threads = [threading.Thread(target=add, args=(keys, some)) for keys, some in ((here, made[:50]), (elsewhere, made[50:]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [here.get(key.kid) for key in made] == made
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["text-keys.sqlite"]
    assert stat.S_IMODE((tmp_path / "home" / "text-keys.sqlite").stat().st_mode) == 0o600


def test_several_keys_are_added_all_or_none(keys: SQLiteTextKeys) -> None:
    one, other = added(keys), TextKey.new()
    with pytest.raises(sqlite3.IntegrityError):
        keys.add([other, one])
    assert keys.get(other.kid) is None


def test_a_file_that_is_no_key_store_is_refused_and_none_is_made_before_a_key_is_asked_for(tmp_path: Path) -> None:
    text_keys(Settings(Common(home=tmp_path / "home")))
    assert not (tmp_path / "home").exists()
    (tmp_path / "text-keys.sqlite").write_bytes(os.urandom(4096))
    with pytest.raises(ConfigurationError, match=r"text-keys\.sqlite: .*restore it"):
        SQLiteTextKeys(tmp_path / "text-keys.sqlite").get("any")
