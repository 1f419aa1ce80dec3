"""Commands about the log, as a person types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from storage.errors import ConfigurationError, FeedbackLoopError, InputRefused
from storage.events import EVENTS, JudgmentGiven, newest_version
from streams.bus.protocol import Record, records_of
from streams.bus.quarantine import quarantined
from streams.bus.sqlite import SQLiteBus
from streams.bus.topics import JUDGMENTS
from tests.storage.facts import judgment, pair
from tests.streams.bus_contract import everything


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SQLiteBus:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEEDBACKLOOP_HOME", str(tmp_path / "home"))
    return SQLiteBus(tmp_path / "home" / "bus.sqlite")


def said(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(kind: type[FeedbackLoopError], *words: str) -> str:
    with pytest.raises(kind) as error:
        CliRunner().invoke(app, list(words), catch_exceptions=False)
    return str(error.value)


def test_quarantined_events_are_listed_shown_and_published_again_unchanged(log: SQLiteBus) -> None:
    assert said("quarantine", "list") == ""
    log.publish([Record(JUDGMENTS.name, b"key", b'{"kind": "JudgmentGiven", "caf\xc3\xa9": 1}')], timeout=5)
    (entry,) = everything(log, JUDGMENTS.name)
    event = quarantined(entry, "sink", "pair_id: Field required")
    log.publish(records_of([event]), timeout=5)

    (line,) = said("quarantine", "list").splitlines()
    assert str(event.event_id) in line
    assert "feedback.judgments/0@0  sink: pair_id: Field required" in line
    shown = said("quarantine", "show", str(event.event_id))
    assert '"reason": "pair_id: Field required"' in shown
    assert '"café": 1' in shown
    assert "feedback.judgments/0@1" in said("quarantine", "retry", str(event.event_id))
    first, again = everything(log, JUDGMENTS.name)
    assert (again.key, again.value) == (first.key, first.value)


def test_an_unknown_id_is_refused_with_a_hint(log: SQLiteBus) -> None:
    assert "quarantine list" in refused(InputRefused, "quarantine", "show", "nonsense")
    assert "quarantine list" in refused(InputRefused, "quarantine", "retry", str(judgment(1).event_id))


def test_the_warehouse_is_rebuilt_into_a_new_file_only(log: SQLiteBus, tmp_path: Path) -> None:
    log.publish(records_of([pair(1), judgment(1)]), timeout=5)
    output = said("replay", "--into", "new.duckdb")
    assert "2 of 2 entries" in output
    rows = {line.split()[0]: line.split()[1] for line in output.splitlines() if len(line.split()) == 3}
    assert (rows["pair_drawn"], rows["judgment_given"], rows["reply_sent"]) == ("1", "1", "0")
    assert "there already" in refused(ConfigurationError, "replay", "--into", "new.duckdb")


def test_one_schema_is_written_for_each_kind_of_event(tmp_path: Path) -> None:
    said("schemas", "--out", str(tmp_path / "schemas"))
    files = {file.name for file in (tmp_path / "schemas").iterdir()}
    assert files == {f"{kind}.v{newest_version(model)}.json" for kind, model in EVENTS.items()}
    schema = json.loads((tmp_path / "schemas" / "JudgmentGiven.v2.json").read_text())
    assert set(schema["required"]) <= set(JudgmentGiven.model_fields)
    assert schema["additionalProperties"] is False


def test_topics_are_created_on_kafka_only(log: SQLiteBus) -> None:
    assert "is not a Kafka URL" in refused(ConfigurationError, "topics", "create")
