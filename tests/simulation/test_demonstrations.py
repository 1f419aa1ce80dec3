"""Demonstrations of the simulated world: true, reproducible, and readable by ``feedbackloop train --phase sft``."""

import subprocess
import sys
from pathlib import Path

from simulation.checker import read
from simulation.demonstrations import draw_demonstrations
from simulation.phrases import phrases
from trainers.data.records import read_file

ROOT = Path(__file__).parents[2]


def test_every_reply_is_true_and_none_asks_what_must_not_be_asked() -> None:
    for each in draw_demonstrations(0, 300):
        reading = read(each.conversation.records[-1], each.reply)
        assert (reading.wrong_facts, reading.unlawful) == ((), 0)
        assert each.prompt[-1]["role"] == "user"


def test_nothing_that_people_chat_about_is_in_them() -> None:
    words = phrases()
    held_out = {*words["roles"]["held_out"], *words["employers"]["held_out"]} - {*words["roles"]["sft"], *words["employers"]["sft"]}
    text = "\n".join(message["content"] for each in draw_demonstrations(1, 300) for message in each.prompt)
    assert not [phrase for phrase in held_out if phrase in text]


def test_the_written_file_is_the_same_each_time_and_holds_demonstrations(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.jsonl", "two.jsonl")]
    for file in files:
        command = [sys.executable, "-m", "simulation", "demonstrations", "--seed=3", "--count=20", f"--out={file}"]
        subprocess.run(command, cwd=ROOT, check=True)
    assert files[0].read_bytes() == files[1].read_bytes()
    drawn = list(draw_demonstrations(3, 20))
    found = read_file(files[0])
    assert [each.reply for each in found.demonstrations] == [each.reply for each in drawn]
    assert [len(each.prompt) for each in found.demonstrations] == [len(each.prompt) for each in drawn]
    assert found.bad.count == 0
