"""The examples of docs/sdk.md run as they stand, but for the server's address."""

import re
from pathlib import Path
from typing import Any

import pytest

from feedbackloop.delivery import FIRST_WAIT, MAX_WAIT
from feedbackloop.openai import REGENERATE
from feedbackloop.spool import MAX_BYTES
from storage.events import JudgmentGiven, ResponseRated
from tests.feedbackloop.serving_process import ServingProcess

PAGE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text("utf-8")


@pytest.mark.processes
def test_the_examples_of_the_page_are_recorded(running: ServingProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = {event.event_id for event in running.events()}
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block.replace("http://127.0.0.1:8000", running.url), names)
    events = [event for event in running.events() if event.event_id not in before]
    ratings = [(event.thumb, event.score) for event in events if isinstance(event, ResponseRated)]
    assert ratings == [("up", None), (None, 4), ("up", None), ("up", None)]
    assert [event.reason for event in events if isinstance(event, JudgmentGiven)] == [None, "says the time"]


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"It waits {FIRST_WAIT} s" in PAGE
    assert f"up to {MAX_WAIT:g} s" in PAGE
    assert f"beyond {MAX_BYTES // 2**20} MiB" in PAGE
    assert f"recruiter `{REGENERATE}`" in PAGE
