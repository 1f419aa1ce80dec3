"""``import`` and ``export``: exit codes, messages, and files that are read back unchanged."""

import gzip
import json
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy.cli.records import export_file, export_form, import_records
from storage.errors import ConfigurationError
from storage.settings import Settings
from tests.deploy.test_cli import ROOT, feedbackloop

pytestmark = pytest.mark.processes

RECORDS = [{"prompt": f"Question {i}?", "chosen": f"A good answer to {i}.", "rejected": f"A bad answer to {i}."} for i in range(40)]


def lines(records: list[dict[str, str]]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def test_a_file_without_one_record_ends_with_code_1_few_complaints_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text("\n".join(json.dumps(record, indent=2) for record in RECORDS * 20))
    done = feedbackloop(tmp_path, "import", "records.json")
    assert (done.returncode, done.stdout) == (1, "")
    complaints = done.stderr.splitlines()
    assert complaints[0] == "feedbackloop: records.json: no preference record in 4,000 lines"
    assert [line.partition(":")[0] for line in complaints[1:21]] == [f"line {n}" for n in range(1, 21)]
    assert complaints[21] == "and 3,980 more"
    assert complaints[22].startswith("hint: the file is JSON over several lines")
    assert len(complaints) == 23


def test_a_file_with_some_records_ends_with_code_0_and_the_same_complaints(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(lines(RECORDS) + "nothing\n" * 50)
    done = feedbackloop(tmp_path, "import", "records.jsonl")
    assert (done.returncode, done.stdout) == (0, "40 records taken in, 0 known already, 50 refused; read as prompt, chosen and rejected\n")
    complaints = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in complaints] == [*(f"line {n}" for n in range(41, 61)), "and 30 more"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out.csv"], ".jsonl, .jsonl.gz, .parquet"),
        (["out"], ".jsonl, .jsonl.gz, .parquet"),
        (["out.jsonl", "--format", "parquet"], "its ending says jsonl and --format says parquet"),
        (["out.parquet", "--format", "jsonl"], "its ending says parquet and --format says jsonl"),
        (["out.parquet.gz", "--format", "parquet"], "not gzipped"),
    ],
)
def test_an_ending_that_names_no_format_or_another_is_refused_before_anything_is_read(tmp_path: Path, words: list[str], said: str) -> None:
    done = feedbackloop(tmp_path, "export", *words, FEEDBACKLOOP_HUB__PORT="1")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_kind_of_export_is_what_its_name_says_and_is_read_back(tmp_path: Path) -> None:
    """Through the command once each way, and by its functions for the other formats: a process takes seconds to start."""
    import pyarrow.parquet as pq

    (tmp_path / "records.jsonl").write_text(lines(RECORDS))
    nobody = {"FEEDBACKLOOP_HUB__PORT": "1"}
    assert feedbackloop(tmp_path, "import", "records.jsonl", **nobody).returncode == 0
    done = feedbackloop(tmp_path, "export", "d.txt", "--format", "jsonl", **nobody)
    assert (done.returncode, done.stdout) == (0, "40 records written to d.txt\n"), done.stderr
    settings = Settings.read(tmp_path, {}).with_values({"home": tmp_path / "home"}, hub={"port": 1})
    for name, form in (("a.jsonl", None), ("b.jsonl.gz", None), ("c.parquet", None), ("e.gz", "jsonl")):
        assert export_file(settings, tmp_path / name, export_form(tmp_path / name, form)) == 40
    plain = (tmp_path / "a.jsonl").read_bytes()
    assert plain == (tmp_path / "d.txt").read_bytes()
    assert plain == gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes()) == gzip.decompress((tmp_path / "e.gz").read_bytes())
    assert pq.read_table(tmp_path / "c.parquet").to_pylist() == [json.loads(line) for line in plain.splitlines()]
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        report = import_records(settings, tmp_path / name, "overall", count=False)
        assert (report.added, report.present, report.bad.count, report.layout) == (0, 40, 0, "prompt, chosen and rejected")


def test_an_export_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    settings = Settings.read(tmp_path, {}).with_values({"home": tmp_path / "home"}, hub={"port": 1})
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"out\.jsonl: cannot be written"):
        export_file(settings, tmp_path / "taken" / "out.jsonl", "jsonl")


def on_a_terminal(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code, and what a terminal of 120 columns shows of stderr."""
    leader, follower = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEDBACKLOOP_")}
    environment |= {"FEEDBACKLOOP_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "deploy.cli", *words]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=follower, stdout=subprocess.DEVNULL, stderr=follower)
    os.close(follower)
    seen = bytearray()

    def read() -> None:
        try:
            while block := os.read(leader, 4096):
                seen.extend(block)
        except OSError:  # Linux's way to say that the other end has closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    try:
        code = process.wait(60)
        reader.join(10)
    finally:
        process.kill()
        os.close(leader)
    return code, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


@pytest.mark.parametrize("name", ["records.jsonl", "records.jsonl.gz", "records.parquet"])
def test_a_person_at_a_terminal_sees_how_far_the_import_is(tmp_path: Path, name: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    bad = {"prompt": "x", "chosen": "the same", "rejected": "the same"}
    text = lines([*RECORDS, bad, bad])
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist([*RECORDS, bad, bad]), tmp_path / name)
    else:
        (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    code, seen = on_a_terminal(tmp_path, "import", name)
    assert code == 0
    assert re.search(r"importing .* 42/42 records, 2 refused, [\d,]+ a second", seen), seen
    assert "41: rejected equals chosen" in seen


def test_without_a_terminal_no_bar_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(lines(RECORDS))
    done = feedbackloop(tmp_path, "import", "records.jsonl", FORCE_COLOR="1", TTY_COMPATIBLE="1")
    assert (done.returncode, done.stderr) == (0, "")
