"""The command line from outside: what a person sees who mistypes, or whose settings are wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def feedbackloop(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEDBACKLOOP_")}
    environment |= {"FEEDBACKLOOP_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)} | variables
    command = [sys.executable, "-m", "deploy.cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text


def test_help_answers_without_loading_the_heavy_libraries(tmp_path: Path) -> None:
    heavy = "{'torch', 'transformers', 'dash', 'great_expectations', 'duckdb'}"
    program = f"import sys; from deploy.cli import app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert "rollback" in feedbackloop(tmp_path, "--help").stdout


def test_a_broken_settings_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "feedbackloop.toml").write_text("[serving\nport = 1")
    done = feedbackloop(tmp_path, "status")
    assert done.returncode == 2
    assert "feedbackloop.toml" in one_line(done.stderr)


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    (tmp_path / "feedbackloop.toml").write_text("[servng]\nport = 1")
    done = feedbackloop(tmp_path, "status")
    assert done.returncode == 2
    assert "no section [servng]" in one_line(done.stderr)


def test_a_hub_that_does_not_run_is_said_in_one_line(tmp_path: Path) -> None:
    done = feedbackloop(tmp_path, "status", FEEDBACKLOOP_HUB__PORT="1")
    assert done.returncode == 2
    assert "feedbackloop up" in one_line(done.stderr)


@pytest.mark.parametrize("process", ["serving", "hub", "processor", "trainer"])
def test_no_process_listens_beyond_this_machine_without_authentication(tmp_path: Path, process: str) -> None:
    variable = f"FEEDBACKLOOP_{process.upper()}__HOST"
    done = feedbackloop(tmp_path, process, **{variable: "0.0.0.0"})
    assert done.returncode == 2
    assert "0.0.0.0" in done.stderr.strip().splitlines()[-1]


def test_a_missing_model_folder_is_named(tmp_path: Path) -> None:
    done = feedbackloop(tmp_path, "serving", FEEDBACKLOOP_MODEL=str(tmp_path / "nowhere"), FEEDBACKLOOP_SERVING__PORT="0")
    assert done.returncode == 2
    assert "nowhere" in done.stderr.strip().splitlines()[-1]


def test_a_file_to_import_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = feedbackloop(tmp_path, "import", "nothing.jsonl")
    assert done.returncode == 2
    assert "nothing.jsonl" in one_line(done.stderr)
