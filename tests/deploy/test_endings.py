"""How a process exits: the reason is its last line, whatever libraries print at exit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]
MODULE = """
import errno, gc, duckdb

def run(settings):
    gc.freeze()  # as the processor does, for its collections
    {ending}
"""
PROCESS = "from deploy.endings import run_process; run_process('ending')"
PLAIN = "import contextlib, ending\nwith contextlib.suppress(Exception): ending.run(None)"


def ended(folder: Path, program: str, ending: str, **more: str) -> subprocess.CompletedProcess[str]:
    (folder / "ending.py").write_text(MODULE.format(ending=ending))
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"} | more
    return subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("ending", "code", "last"),
    [
        ("pass", 0, ""),
        ("raise OSError(errno.ENOSPC, 'No space left')", 75, "feedbackloop: the disk is full ([Errno 28] No space left)"),
        ("raise ZeroDivisionError('x')", 1, "feedbackloop: ZeroDivisionError: x"),
    ],
)
def test_the_reason_is_the_last_line_and_duckdb_reports_no_leaks(tmp_path: Path, ending: str, code: int, last: str) -> None:
    assert "nanobind" in ended(tmp_path, PLAIN, ending).stderr, "DuckDB reports no leaks any more: os._exit is no longer needed"
    done = ended(tmp_path, PROCESS, ending)
    assert done.returncode == code
    assert "nanobind" not in done.stderr
    assert "".join(done.stderr.splitlines()[-1:]) == last


def test_a_wrong_setting_has_the_exit_code_2(tmp_path: Path) -> None:
    done = ended(tmp_path, PROCESS, "pass", FEEDBACKLOOP_NONSENSE="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "FEEDBACKLOOP_NONSENSE" in done.stderr
