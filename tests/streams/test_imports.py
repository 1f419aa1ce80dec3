"""Records from files are imported once, marked as imported, and a bad line is reported while the others are imported."""

import gzip
import json
import threading
from pathlib import Path

import pytest

from storage.errors import ConfigurationError, DataRefused, InputRefused
from storage.events import JudgmentGiven, PairDrawn
from storage.events.wire import decode
from streams.bus.topics import JUDGMENTS, PAIRS
from streams.imports import import_file
from tests.streams.bus_contract import everything
from tests.streams.memory_bus import MemoryBus

KEY = b"k" * 32
RECORDS = [
    {"prompt": f"Question {i}?", "chosen": f"A good answer to {i}.", "rejected": f"A bad answer to {i}.", "label_by": "human"}
    for i in range(40)
]


def written(folder: Path, *lines: str) -> Path:
    path = folder / "records.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def imported(bus: MemoryBus) -> tuple[list[PairDrawn], list[JudgmentGiven]]:
    pairs = [event for entry in everything(bus, PAIRS.name) if isinstance(event := decode(entry.value), PairDrawn)]
    judgments = [event for entry in everything(bus, JUDGMENTS.name) if isinstance(event := decode(entry.value), JudgmentGiven)]
    return pairs, judgments


def test_every_record_is_a_pair_and_a_judgment_that_prefers_the_chosen(tmp_path: Path) -> None:
    bus = MemoryBus()
    report = import_file(written(tmp_path, *map(json.dumps, RECORDS)), bus, KEY, objective="helpful")
    pairs, judgments = imported(bus)
    assert (report.added, report.present, report.bad.count) == (40, 0, 0)
    by_pair = {judgment.pair_id: judgment for judgment in judgments}
    for pair, record in zip(pairs, RECORDS, strict=True):
        judgment = by_pair[pair.pair_id]
        chosen = pair.a if judgment.objectives == {"helpful": "A"} else pair.b
        assert chosen.text == record["chosen"]
        assert (judgment.choice, judgment.counts, judgment.source, pair.source) == (None, False, "import", "import")
    assert {next(iter(judgment.objectives.values())) for judgment in judgments} == {"A", "B"}


def test_importing_the_same_file_twice_is_a_no_op_also_gzipped(tmp_path: Path) -> None:
    bus = MemoryBus()
    path = written(tmp_path, *map(json.dumps, RECORDS))
    import_file(path, bus, KEY)
    before = everything(bus, PAIRS.name, JUDGMENTS.name)
    packed = tmp_path / "records.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    report = import_file(packed, bus, KEY)
    assert (report.added, report.present) == (0, 40)
    assert everything(bus, PAIRS.name, JUDGMENTS.name) == before


def test_another_objective_adds_judgments_to_the_same_pairs(tmp_path: Path) -> None:
    bus = MemoryBus()
    path = written(tmp_path, *map(json.dumps, RECORDS))
    import_file(path, bus, KEY, objective="helpful")
    assert import_file(path, bus, KEY, objective="overall", counts=True).added == 40
    pairs, judgments = imported(bus)
    assert (len(pairs), len(judgments)) == (40, 80)
    assert all(judgment.choice in ("A", "B") and judgment.counts for judgment in judgments[40:])
    assert len({(judgment.pair_id, judgment.recruiter) for judgment in judgments}) == 80, "neither replaces the other"


def test_a_bad_line_is_reported_and_the_others_are_imported(tmp_path: Path) -> None:
    bus = MemoryBus()
    good = json.dumps(RECORDS[0])
    long = json.dumps({"prompt": [{"role": "user", "content": "x" * 60_000}] * 5, "chosen": "yes", "rejected": "no"})
    report = import_file(written(tmp_path, good, "{", '{"prompt": "x"}', good, long, json.dumps(RECORDS[1])), bus, KEY)
    assert (report.added, report.present) == (2, 1)
    assert [bad.number for bad in report.bad.first] == [2, 3, 5]
    assert "chosen" in report.bad.first[1].reason
    assert "200,000" in report.bad.first[2].reason


def test_a_transcript_becomes_messages_and_chat_messages_stay_what_they_are(tmp_path: Path) -> None:
    bus = MemoryBus()
    transcript = {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Is it open?", "chosen": "Yes.", "rejected": "No."}
    chat = {
        "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it open?"}],
        "chosen": [{"role": "assistant", "content": "Yes."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    import_file(written(tmp_path, json.dumps(transcript), json.dumps(chat)), bus, KEY)
    pairs, _ = imported(bus)
    assert [[message.role for message in pair.prompt] for pair in pairs] == [["user", "assistant", "user"], ["system", "user"]]


def test_it_waits_while_readers_lag_and_continues_when_they_have_caught_up(tmp_path: Path) -> None:
    bus = MemoryBus()
    path = written(tmp_path, *map(json.dumps, RECORDS))
    import_file(path, bus, KEY)
    after = {"embed": [PAIRS.name], "sink": [PAIRS.name, JUDGMENTS.name]}
    other = [json.dumps(record | {"chosen": f"Another: {record['chosen']}"}) for record in RECORDS]
    thread = threading.Thread(target=import_file, args=(written(tmp_path, *other), bus, KEY), kwargs={"max_lag": 30})
    thread.start()
    for _ in range(3):  # no reader has marked the first forty
        bus.read({partition: following - 1 for partition, (_, following) in bus.bounds([PAIRS.name]).items()}, limit=1, wait=0.1)
    assert len(everything(bus, PAIRS.name)) == 40
    for reader, topics in after.items():
        bus.mark(reader, {partition: following - 1 for partition, (_, following) in bus.bounds(topics).items()})
    thread.join(timeout=8)
    assert len(everything(bus, PAIRS.name)) == 80


def test_stopped_readers_are_waited_for_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []

    def clock() -> float:
        waits.append(1)
        return len(waits) * 0.01

    monkeypatch.setattr("streams.imports.BATCH", 4)
    monkeypatch.setattr("streams.imports.STALL_TIMEOUT", 0.05)
    monkeypatch.setattr("streams.imports.monotonic", clock)
    bus = MemoryBus()
    assert import_file(written(tmp_path, *map(json.dumps, RECORDS)), bus, KEY, max_lag=10).added == 40
    assert len(waits) < 40, "ten batches, and one wait of some looks among them"


def test_a_missing_file_or_an_invalid_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        import_file(tmp_path / "absent.jsonl", MemoryBus(), KEY)
    with pytest.raises(InputRefused, match="objective"):
        import_file(written(tmp_path, "{}"), MemoryBus(), KEY, objective="not a name")


def test_a_file_without_any_record_is_refused_with_a_short_message_and_nothing_is_published(tmp_path: Path) -> None:
    bus = MemoryBus()
    path = written(tmp_path, "\n".join(json.dumps(record, indent=2) for record in RECORDS * 10))
    with pytest.raises(DataRefused) as refused:
        import_file(path, bus, KEY)
    complaints = str(refused.value).splitlines()
    lines = len(path.read_text().splitlines())
    assert f"no preference record in {lines:,} lines" in complaints[0]
    assert len(complaints) == 1 + 20 + 1 + 1
    assert complaints[-2] == f"and {lines - 20:,} more"
    assert "JSON over several lines" in complaints[-1]
    assert everything(bus, PAIRS.name, JUDGMENTS.name) == []


def test_progress_is_called_after_every_line_with_the_number_refused(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    path = written(tmp_path, json.dumps(RECORDS[0]), "", "{", json.dumps(RECORDS[0]), json.dumps(RECORDS[1]))
    import_file(path, MemoryBus(), KEY, progress=lambda done, refused: told.append((done, refused)))
    assert told == [(1, 0), (2, 1), (3, 1), (4, 1)]


def test_a_file_of_real_annotations_is_imported_completely(request: pytest.FixtureRequest) -> None:
    path = request.config.rootpath.parent / "shared" / "data" / "preference" / "pandalm_dev.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared data is not here")
    bus = MemoryBus()
    report = import_file(path, bus, KEY, objective="helpful", max_lag=10_000)
    assert report.bad.count == 0
    assert len(everything(bus, JUDGMENTS.name)) == report.added
    assert report.added + report.present == 434
