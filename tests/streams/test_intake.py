"""Accepted requests are validated and durable; refused ones name the field and publish nothing."""

import stat
import threading
import traceback
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import ConfigurationError, InputRefused, NotAllowed, Overloaded
from storage.events import new_id
from storage.events.wire import decode
from storage.settings import Common
from storage.strata import stratum_of
from streams.bus.topics import TOPICS
from streams.caps import JudgmentLimiter
from streams.client_events import MAX_PROMPT
from streams.intake import Intake
from streams.pseudonyms import folded, pseudonym, pseudonym_key
from streams.settings import FeedbackCaps
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus

PROMPT = [{"role": "user", "content": "Is the role still open?"}]
A, B = {"text": "Yes, it is.", "version": "base"}, {"text": "It is; may I book a call?", "version": "base"}
PAIR: dict[str, Any] = {"prompt": PROMPT, "a": A, "b": B, "conversation_id": "c1"}
JUDGMENT: dict[str, Any] = {"pair_id": str(uuid4()), "recruiter": "Ada", "choice": "A"}
REPLY: dict[str, Any] = {"conversation_id": "c1", "prompt": PROMPT, "reply": "Yes.", "version": "base", "sampling": {}}
RATING: dict[str, Any] = {"conversation_id": "c1", "recruiter": "Ada", "thumb": "up"}
EDIT: dict[str, Any] = {"prompt": PROMPT, "original": A, "edited": "Yes. Shall we talk on Monday?", "recruiter": "Ada"}


KEY = b"k" * 32
CANDIDATE = "Rosa Marchetti"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


def new_intake() -> tuple[Intake, MemoryBus]:
    bus = MemoryBus()
    return Intake(bus, KEY), bus


@pytest.mark.parametrize(("method", "sent"), [("reply", REPLY), ("pair", PAIR), ("judgment", JUDGMENT), ("rating", RATING), ("edit", EDIT)])
def test_what_is_returned_is_on_the_log(method: str, sent: dict[str, Any]) -> None:
    intake, bus = new_intake()
    returned = getattr(intake, method)(**sent)
    events = returned if isinstance(returned, tuple) else (returned,)
    assert [decode(entry.value) for entry in everything(bus, *TOPICS)] == list(events)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("pair", PAIR | {"prompt": [{"role": "user", "content": "x" * 1_000_000}]}, "prompt.0.content"),
    ("pair", PAIR | {"prompt": [{"role": "user", "content": "x" * 60_000}] * 4}, "prompt"),
    ("pair", PAIR | {"prompt": []}, "prompt"),
    ("pair", PAIR | {"prompt": "hello"}, "prompt"),
    ("pair", PAIR | {"prompt": [{"role": "user", "content": "x", "name": "y"}]}, "prompt.0.name"),
    ("pair", PAIR | {"prompt": [{"role": "user", "content": "lone \ud800 surrogate"}]}, "prompt"),
    ("pair", PAIR | {"prompt": [{"role": "user", "content": "nul \0"}]}, "prompt.0.content"),
    ("pair", PAIR | {"a": {"text": "  ", "version": "base"}}, "a.text"),
    ("pair", PAIR | {"a": {"text": "x"}}, "a.version"),
    ("pair", PAIR | {"b": A}, "b"),
    ("pair", PAIR | {"pair_id": "17"}, "pair_id"),
    ("pair", PAIR | {"probability": 0.0}, "probability"),
    ("pair", PAIR | {"drawn": "by guess"}, "drawn"),
    ("pair", PAIR | {"conversation_id": "white space"}, "conversation_id"),
    ("pair", PAIR | {"conversation_id": "\udcff"}, "conversation_id"),
    ("pair", PAIR | {"source": "nowhere"}, "source"),
    ("reply", REPLY | {"conversation_id": 7}, "conversation_id"),
    ("reply", REPLY | {"reply": ""}, "reply"),
    ("reply", REPLY | {"candidate": ""}, "candidate"),
    ("reply", REPLY | {"sampling": {"temperature": 9}}, "sampling.temperature"),
    ("judgment", JUDGMENT | {"pair_id": "not-a-uuid"}, "pair_id"),
    ("judgment", JUDGMENT | {"choice": "C"}, "choice"),
    ("judgment", JUDGMENT | {"choice": None}, "choice"),
    ("judgment", JUDGMENT | {"objectives": {"helpful": "yes"}}, "objectives.helpful"),
    ("judgment", JUDGMENT | {"strength": 5}, "strength"),
    ("judgment", JUDGMENT | {"strength": "3"}, "strength"),
    ("judgment", JUDGMENT | {"seconds": float("nan")}, "seconds"),
    ("judgment", JUDGMENT | {"recruiter": "x" * 201}, "recruiter"),
    ("judgment", JUDGMENT | {"recruiter": 12}, "recruiter"),
    ("judgment", JUDGMENT | {"reason": b"\xff"}, "reason"),
    ("rating", RATING | {"thumb": "sideways"}, "thumb"),
    ("rating", RATING | {"reply_id": "x"}, "reply_id"),
    ("edit", EDIT | {"edited": ""}, "edited"),
    ("edit", EDIT | {"edited": A["text"]}, "edited"),
    ("edit", EDIT | {"original": {"text": "", "version": "base"}}, "original.text"),
]


@pytest.mark.parametrize(("method", "sent", "field"), REFUSED)
def test_what_is_refused_names_its_field_and_leaves_nothing(method: str, sent: dict[str, Any], field: str) -> None:
    intake, bus = new_intake()
    with pytest.raises(InputRefused) as refused:
        getattr(intake, method)(**sent)
    assert refused.value.field == field
    assert str(refused.value).startswith(field)
    assert len(str(refused.value)) < 1000
    assert everything(bus, *TOPICS) == []


def test_a_prompt_of_the_maximum_size_is_accepted() -> None:
    intake, _ = new_intake()
    assert intake.pair(**PAIR | {"prompt": [{"role": "user", "content": "x" * (MAX_PROMPT // 4)}] * 4}).prompt[0].content[0] == "x"


def test_neither_recruiter_nor_candidate_leaves_a_name_on_the_log() -> None:
    intake, bus = new_intake()
    intake.judgment(**JUDGMENT | {"recruiter": "Ada Lovelace"})
    intake.rating(**RATING | {"recruiter": "Ada Lovelace"})
    intake.reply(**REPLY | {"candidate": "Ada Lovelace"})
    intake.edit(**EDIT | {"recruiter": "Ada Lovelace"})
    assert not any(b"Ada" in entry.value or b"Ada" in entry.key for entry in everything(bus, *TOPICS))


@given(NAMES, NAMES, st.binary(min_size=32, max_size=32))
def test_a_candidates_pseudonym_is_the_same_for_the_same_id_only(one: str, other: str, key: bytes) -> None:
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert (pseudonym(key, "candidate", one) == pseudonym(key, "candidate", other)) == same


SPELLINGS = [
    "Zo\u00eb Stra\u00dfe",
    "Zoe\u0308 Stra\u00dfe",  # combining
    "zo\u00eb strasse",
    "ZO\u00cb STRASSE",
    "  Zo\u00eb   Stra\u00dfe ",
    "Zo\u00eb\u00a0Stra\u00dfe",  # no-break space
    "Zo\u200b\u00eb Stra\u00dfe",  # zero-width space
    "Zo\u00eb\u2060 Stra\u00dfe",  # word joiner
    "\u202eZo\u00eb Stra\u00dfe\u202c",  # turned right to left
    "\uff3ao\u00eb Stra\u00dfe",  # a full-width Z
    "Zo\u00eb\ufe0f Stra\u00dfe",  # a variation selector
]


def test_all_spellings_of_a_recruiters_name_have_one_pseudonym_and_other_names_have_others() -> None:
    intake, _ = new_intake()
    assert len({intake.pseudonym("recruiter", name) for name in SPELLINGS}) == 1
    others = ["Zoe Strasse", "Zo\u00eb Strase", "\u0417\u043e\u0451", "\u0928\u0940\u0932", "\u0928\u0932"]
    assert len({intake.pseudonym("recruiter", name) for name in [SPELLINGS[0], *others]}) == 1 + len(others)


@given(NAMES)
def test_folding_a_name_again_changes_nothing(name: str) -> None:
    try:
        once = folded(name)
    except InputRefused:
        return
    assert folded(once) == once


@pytest.mark.parametrize("name", ["\u0410na", "An\u0430", "\u0391da", "\u200b\u2060"])
def test_a_confusable_or_invisible_name_is_refused(name: str) -> None:
    intake, bus = new_intake()
    with pytest.raises(InputRefused, match=r"^recruiter: "):
        intake.judgment(**JUDGMENT | {"recruiter": name})
    assert everything(bus, *TOPICS) == []


def test_an_event_stamped_in_the_future_is_refused() -> None:
    intake, bus = new_intake()
    event = intake.judgment(**JUDGMENT)
    ahead = event.model_copy(update={"event_id": new_id(), "occurred_at": event.occurred_at + timedelta(days=10)})
    with pytest.raises(InputRefused, match=r"occurred_at: .* lies in the future") as refused:
        intake.publish([ahead])
    assert refused.value.field == "occurred_at"
    assert len(everything(bus, *TOPICS)) == 1


def test_the_stratum_of_a_pair_comes_from_its_conversation_or_else_from_its_prompt() -> None:
    intake, _ = new_intake()
    for i in range(20):
        assert intake.pair(**PAIR | {"conversation_id": f"c{i}"}).stratum == stratum_of(f"c{i}", KEY)
    alone = [intake.pair(prompt=PROMPT, a=A, b={"text": f"other {i}", "version": "base"}) for i in range(3)]
    assert len({(pair.conversation_id, pair.stratum) for pair in alone}) == 1


def test_recruiters_per_pair_and_judgments_per_recruiter_are_limited() -> None:
    bus = MemoryBus()
    intake = Intake(bus, KEY, FeedbackCaps(recruiters_per_pair=3, judgments_per_recruiter_and_pair=2))
    for name in ("Ada", "Bob", "Cyd", "Ada"):
        intake.judgment(**JUDGMENT | {"recruiter": name})
    with pytest.raises(InputRefused, match="3 people have judged this pair"):
        intake.judgment(**JUDGMENT | {"recruiter": "Dee"})
    with pytest.raises(InputRefused, match="judged this pair 2 times"):
        intake.judgment(**JUDGMENT | {"recruiter": "Ada"})
    intake.judgment(**JUDGMENT | {"recruiter": "Bob"})
    intake.judgment(**JUDGMENT | {"recruiter": "Dee", "pair_id": str(uuid4())})
    assert len(everything(bus, *TOPICS)) == 6


def test_each_caller_has_its_own_rate_limit() -> None:
    now = 0.0
    limiter = JudgmentLimiter(FeedbackCaps(judgments_per_minute=2), lambda: now)
    for _ in range(2):
        limiter.admit(uuid4(), "r-1", "127.0.0.1")
    with pytest.raises(Overloaded) as refused:
        limiter.admit(uuid4(), "r-1", "127.0.0.1")
    assert refused.value.retry_after == 60
    limiter.admit(uuid4(), "r-1", "127.0.0.2")
    now = 60.0
    limiter.admit(uuid4(), "r-1", "127.0.0.1")


def test_callers_are_told_apart_by_their_names() -> None:
    intake = Intake(MemoryBus(), KEY, FeedbackCaps(judgments_per_minute=1))
    intake.for_caller("one").judgment(**JUDGMENT)
    intake.for_caller("other").judgment(**JUDGMENT)
    with pytest.raises(Overloaded, match="this caller"):
        intake.for_caller("one").judgment(**JUDGMENT)


def test_a_caller_speaks_for_its_recruiters_only() -> None:
    intake, bus = new_intake()
    bound = intake.for_caller("product", frozenset({intake.pseudonym("recruiter", "Ada")}))
    bound.judgment(**JUDGMENT | {"recruiter": "ADA"})
    for refused in (
        lambda: bound.judgment(**JUDGMENT | {"recruiter": "Bob"}),
        lambda: bound.withdrawal(recruiter="Bob", pair_id=JUDGMENT["pair_id"]),
        lambda: bound.rating(recruiter="Bob", conversation_id="c-1", thumb="up"),
        lambda: bound.edit(**EDIT | {"recruiter": "Bob"}),
        lambda: bound.rewrite(recruiter="Bob", edited="better", conversation_id="c-1"),
    ):
        with pytest.raises(NotAllowed, match="product may not speak for this recruiter"):
            refused()
    assert len(everything(bus, *TOPICS)) == 1


def test_the_stratum_of_a_conversation_cannot_be_computed_without_the_key() -> None:
    here, elsewhere = Intake(MemoryBus(), KEY), Intake(MemoryBus(), b"e" * 32)
    sides = [[intake.pair(**PAIR | {"conversation_id": f"c{i}"}).stratum for i in range(400)] for intake in (here, elsewhere)]
    public = [stratum_of(f"c{i}") for i in range(400)]
    for one, other in ((sides[0], sides[1]), (sides[0], public)):
        agreed = sum(a == b for a, b in zip(one, other, strict=True))
        assert 200 <= agreed <= 300  # independent quarters agree in 5 of 8 cases, 250 with a standard deviation of 10
    assert 70 <= sides[0].count("evaluation") <= 130


def test_a_derived_conversation_id_is_the_same_in_every_process_and_cannot_be_guessed_from_the_words() -> None:
    words = [{"role": "user", "content": "I am Rosa Marchetti, and I lost my last job."}]
    unnamed = PAIR | {"prompt": words, "conversation_id": None}
    here, replica, guessing = (Intake(MemoryBus(), key) for key in (KEY, KEY, b""))
    assert here.pair(**unnamed).conversation_id == replica.pair(**unnamed).conversation_id
    assert here.pair(**unnamed).conversation_id != guessing.pair(**unnamed).conversation_id
    opening, candidate = "user\x1fI am Rosa Marchetti", here.pseudonym("candidate", "17")
    assert here.conversation_id(opening, "17") == replica.conversation_id(opening, "17")
    assert here.conversation_id(opening, "17") not in (here.conversation_id(opening, "18"), here.conversation_id(opening, None))
    guessing.pseudonym = lambda role, name: candidate  # type: ignore[method-assign]  # which stands beside the id on the log
    assert here.conversation_id(opening, "17") != guessing.conversation_id(opening, "17")


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("pair", PAIR | {"prompt": [{"role": "user", "content": f"{CANDIDATE}\0"}]}),
        ("pair", PAIR | {"prompt": [{"role": CANDIDATE, "content": "Hello"}]}),
        ("pair", PAIR | {"a": {"text": f"Dear {CANDIDATE}\0", "version": "base"}}),
        ("pair", PAIR | {"a": {"text": [CANDIDATE], "version": "base"}}),
        ("reply", REPLY | {"reply": f"Dear {CANDIDATE}\0"}),
        ("reply", REPLY | {"candidate": f"{CANDIDATE}\0"}),
        ("judgment", JUDGMENT | {"reason": f"because of {CANDIDATE}\0"}),
        ("rating", RATING | {"thumb": None, "comment": f"{CANDIDATE} \0"}),
        ("edit", EDIT | {"edited": f"Dear {CANDIDATE}\0"}),
    ],
)
def test_the_traceback_of_a_refusal_does_not_show_what_was_written(method: str, sent: dict[str, Any]) -> None:
    intake, _ = new_intake()
    with pytest.raises(InputRefused) as refused:
        getattr(intake, method)(**sent)
    assert CANDIDATE not in "".join(traceback.format_exception(refused.value))


def test_an_edit_is_a_pair_judged_for_the_rewrite() -> None:
    intake, _ = new_intake()
    pair, judgment = intake.edit(**EDIT)
    assert (pair.a.text, pair.b.text, pair.drawn) == (A["text"], EDIT["edited"], "edited")
    assert (judgment.pair_id, judgment.choice) == (pair.pair_id, "B")
    assert pair.b.version == judgment.recruiter


def test_the_key_is_created_once_and_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    common = Common(home=tmp_path / "home")
    keys: list[bytes] = []
    threads = [threading.Thread(target=lambda: keys.append(pseudonym_key(common))) for _ in range(8)]
    run_all(threads)
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert stat.S_IMODE((tmp_path / "home" / "pseudonym.key").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["pseudonym.key"]


def test_a_key_in_the_settings_overrides_the_file_and_short_ones_are_refused(tmp_path: Path) -> None:
    elsewhere = "from elsewhere" * 3
    assert pseudonym_key(Common.model_validate({"home": tmp_path, "pseudonym_key": elsewhere})) == elsewhere.encode()
    with pytest.raises(ConfigurationError, match="pseudonym_key: 5 characters are too few") as refused:
        pseudonym_key(Common.model_validate({"home": tmp_path, "pseudonym_key": "brief"}))
    assert "brief" not in str(refused.value)
    (tmp_path / "pseudonym.key").write_text("abc")
    with pytest.raises(ConfigurationError, match=r"pseudonym\.key"):
        pseudonym_key(Common(home=tmp_path))


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)


def test_a_response_by_a_recruiter_has_their_pseudonym_as_its_version() -> None:
    intake, _ = new_intake()
    pair = intake.pair(prompt=PROMPT, a={"text": "One.", "version": "base"}, b={"text": "Two.", "version": "recruiter:Ana"})
    assert pair.b.version == intake.pseudonym("recruiter", "ana")
    assert pair.a.version == "base"
    with pytest.raises(InputRefused, match=r"b\.version"):
        intake.pair(prompt=PROMPT, a={"text": "One.", "version": "base"}, b={"text": "Two.", "version": "recruiter:"})
