"""Texts of candidates in a run's report and replies are sealed under keys of the run; without them figures and hashes stay."""

from pathlib import Path
from typing import Any, get_args

import pytest

from storage.events import Message
from storage.texts.keys import FILE, SQLiteTextKeys
from storage.texts.texts import PLAIN, Texts
from tests.dashboard.evaluated import report_on
from trainers.policy.reply_samples import RepliesAt, ReplySamples
from trainers.runs.report import Report
from trainers.runs.texts import ERASED, Quoting, changed_report, changed_samples, opening, run_kid, sealing

RUN = "11111111-2222-3333-4444-555555555555"
PROMPT = (Message(role="system", content="Name: Kestrel"), Message(role="user", content="I breed the kestrel."))
SAMPLES = ReplySamples(prompts=(PROMPT,), samples=(RepliesAt(step=0, replies=("A kestrel!",)), RepliesAt(step=4, replies=("Kestrels?",))))


@pytest.fixture
def keys(tmp_path: Path) -> SQLiteTextKeys:
    return SQLiteTextKeys(tmp_path / FILE)


@pytest.fixture
def report() -> Report:
    written = Report.model_validate(report_on("v-1", "a" * 64, RUN))
    replies = tuple(each.model_copy(update={"prompt": PROMPT, "challenger": "A kestrel, how nice."}) for each in written.replies)
    assert replies
    findings = written.findings | {"facts": written.findings["facts"] | {"examples": ["Friday: on Friday, with the kestrel"]}}
    return written.model_copy(update={"replies": replies, "findings": findings})


def figures(finding: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in finding.items() if name != "examples"}


def test_a_report_is_opened_as_it_was_and_holds_no_word_of_a_candidate_until_then(report: Report, keys: SQLiteTextKeys) -> None:
    texts = Texts(keys)
    sealed = changed_report(report, sealing(RUN, "report", texts))
    assert "kestrel" in report.model_dump_json().lower()
    assert "kestrel" not in sealed.model_dump_json().lower()
    assert sealed == changed_report(report, sealing(RUN, "report", Texts(keys))), "the same bytes when a run is resumed"
    assert changed_report(Report.model_validate_json(sealed.model_dump_json()), opening(texts)) == report


def test_without_the_key_the_figures_stay(report: Report, keys: SQLiteTextKeys) -> None:
    sealed = changed_report(report, sealing(RUN, "report", Texts(keys)))
    keys.destroy([run_kid(RUN, "report")])
    found = changed_report(sealed, opening(Texts(keys)))
    assert {each.challenger for each in found.replies} == {ERASED}
    assert {message.content for each in found.replies for message in each.prompt} == {ERASED}
    assert found.findings["facts"]["examples"] == [ERASED]
    assert [each.reward_difference for each in found.replies] == [each.reward_difference for each in report.replies]
    assert found.gates == report.gates
    assert {name: figures(each) for name, each in found.findings.items()} == {name: figures(each) for name, each in report.findings.items()}


def test_replies_over_a_training_are_sealed_too(keys: SQLiteTextKeys) -> None:
    sealed = changed_samples(SAMPLES, sealing(RUN, "replies", Texts(keys)))
    assert "kestrel" not in sealed.model_dump_json().lower()
    assert changed_samples(sealed, opening(Texts(keys))) == SAMPLES
    keys.destroy([run_kid(RUN, "replies")])
    assert {reply for each in changed_samples(sealed, opening(Texts(keys))).samples for reply in each.replies} == {ERASED}


def test_each_artifact_of_a_run_has_a_key_of_its_own_and_without_a_key_store_nothing_is_sealed(
    report: Report, keys: SQLiteTextKeys
) -> None:
    sealings = [sealing(run, what, Texts(keys)) for run in (RUN, "another run") for what in get_args(Quoting)]
    assert len({sealed("kestrel") for sealed in sealings}) == 4
    assert changed_report(report, sealing(RUN, "report", PLAIN)) == report
