"""The command line as a subprocess: errors for wrong arguments and settings."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pytest

from deploy.supervisor import COMMAND

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


def feedbackloop(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEDBACKLOOP_")}
    environment |= {"FEEDBACKLOOP_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)} | variables
    command = [*COMMAND, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text


def test_help_answers_without_loading_the_heavy_libraries(tmp_path: Path) -> None:
    heavy = "{'torch', 'transformers', 'dash', 'great_expectations', 'duckdb'}"
    program = f"import sys; from deploy.cli.main import app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert "rollback" in feedbackloop(tmp_path, "--help").stdout


def test_a_broken_settings_file_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "feedbackloop.toml").write_text("[serving\nport = 1")
    done = feedbackloop(tmp_path, "status")
    assert done.returncode == 2
    assert "feedbackloop.toml" in one_line(done.stderr)


def test_a_launcher_is_refused_because_each_of_its_processes_would_claim_the_run(tmp_path: Path) -> None:
    for command in (["trainer"], ["train", "--phase", "dpo"]):
        done = feedbackloop(tmp_path, *command, LOCAL_RANK="1")
        assert done.returncode == 2
        assert "starts a process for each GPU itself: run it without accelerate launch" in one_line(done.stderr)


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    (tmp_path / "feedbackloop.toml").write_text("[servng]\nport = 1")
    done = feedbackloop(tmp_path, "status")
    assert done.returncode == 2
    assert "no section [servng]" in one_line(done.stderr)


def test_a_hub_that_does_not_run_is_reported_in_one_line(tmp_path: Path) -> None:
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


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = feedbackloop(tmp_path, "--version")
    assert done.returncode == 0
    assert done.stdout == f"feedbackloop {version('feedbackloop')}\n"


def test_a_settings_file_that_is_named_and_not_there_is_exit_code_2(tmp_path: Path) -> None:
    done = feedbackloop(tmp_path, "status", FEEDBACKLOOP_CONFIG="~/nothing.toml", HOME=str(tmp_path))
    assert done.returncode == 2
    assert f"FEEDBACKLOOP_CONFIG names {tmp_path}/nothing.toml" in one_line(done.stderr)


def test_a_password_that_begins_like_json_is_a_password(tmp_path: Path) -> None:
    secret = {"FEEDBACKLOOP_KAFKA__PASSWORD": "[hush", "FEEDBACKLOOP_UPSTREAM__KEY": "{hush"}
    done = feedbackloop(tmp_path, "quarantine", "list", **secret)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("bus", "words"),
    [
        ("kafka://host:port", "'host:port' is not a host and a port; name the brokers"),
        ("kafka://broker", "'broker' is not a host and a port"),
        ("kafka://ana:hush@broker:9092", "set username and password in [kafka]"),
        ("mysql://ana:hush@broker:9092", "bus = 'mysql://broker:9092': use sqlite:///path or kafka://host:port"),
    ],
)
def test_a_bus_that_is_no_address_is_one_line_that_says_what_to_write(tmp_path: Path, bus: str, words: str) -> None:
    done = feedbackloop(tmp_path, "quarantine", "list", FEEDBACKLOOP_BUS=bus)
    assert done.returncode == 2
    assert words in one_line(done.stderr)
    assert "hush" not in done.stderr


@pytest.mark.parametrize("command", [["hub"], ["processor"], ["topics", "create"]])
def test_the_placeholder_address_of_the_documentation_is_one_line(tmp_path: Path, command: list[str]) -> None:
    ports = {"FEEDBACKLOOP_HUB__PORT": "0", "FEEDBACKLOOP_PROCESSOR__PORT": "0"}
    done = feedbackloop(tmp_path, *command, FEEDBACKLOOP_BUS="kafka://host:port", **ports)
    assert done.returncode == 2
    assert "name the brokers, as in kafka://localhost:9092" in one_line(done.stderr)


@pytest.mark.parametrize("key", ["cafile", "certfile"])
def test_a_file_for_tls_that_is_not_there_is_one_line(tmp_path: Path, key: str) -> None:
    variables = {"FEEDBACKLOOP_BUS": "kafka://127.0.0.1:1", "FEEDBACKLOOP_KAFKA__SECURITY": "SSL"}
    done = feedbackloop(tmp_path, "topics", "create", **variables, **{f"FEEDBACKLOOP_KAFKA__{key.upper()}": "~/nothing.pem"})
    assert done.returncode == 2
    assert f"[kafka] {key} = " in one_line(done.stderr)
    assert "nothing.pem" in done.stderr
    assert "No such file" in done.stderr


def test_a_wrong_ca_file_in_the_environment_stops_serving_with_one_line_if_an_upstream_needs_it(tmp_path: Path) -> None:
    upstream = {"FEEDBACKLOOP_UPSTREAM__URL": "https://example.org/v1", "FEEDBACKLOOP_UPSTREAM__MODEL": "m"}
    done = feedbackloop(tmp_path, "serving", FEEDBACKLOOP_SERVING__PORT="0", SSL_CERT_FILE="/nowhere/ca.pem", **upstream)
    assert done.returncode == 2
    assert "SSL_CERT_FILE" in one_line(done.stderr)


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command in (["up"], ["serving"], ["trainer"]):
        ports = {f"FEEDBACKLOOP_{name}__PORT": "0" for name in ("HUB", "PROCESSOR", "TRAINER", "SERVING")}
        done = feedbackloop(tmp_path, *command, FEEDBACKLOOP_HOME=str(tmp_path / "file" / "home"), **ports)
        assert done.returncode == 2, command
        assert "set FEEDBACKLOOP_HOME to another folder" in one_line(done.stderr)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without room for another byte, with a folder in it."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small file system needs root on Linux")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    try:
        (folder / "home").mkdir(mode=0o700)
        with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_exit_code_75(tmp_path: Path, full_disk: Path) -> None:
    for command in (["hub"], ["serving"], ["processor"], ["quarantine", "list"]):
        ports = {f"FEEDBACKLOOP_{name}__PORT": "0" for name in ("HUB", "PROCESSOR", "TRAINER", "SERVING")}
        done = feedbackloop(tmp_path, *command, FEEDBACKLOOP_HOME=str(full_disk / "home"), **ports)
        assert done.returncode == 75, (command, done.stderr)
        assert "the disk " in one_line(done.stderr), command


def test_a_path_of_the_command_line_has_its_tilde_expanded(tmp_path: Path) -> None:
    done = feedbackloop(tmp_path, "schemas", "--out=~/there", HOME=str(tmp_path))
    assert done.returncode == 0
    assert list((tmp_path / "there").iterdir())
    assert not (tmp_path / "~").exists()


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    assert feedbackloop(tmp_path, "quarantine", "list").returncode == 0
    written = [tmp_path / "home", *(tmp_path / "home").rglob("*")]
    assert len(written) > 1
    assert not any(path.stat().st_mode & 0o077 for path in written)


PROXY = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:1")
AUTHORITIES = {"SSL_CERT_FILE": "/nowhere/ca.pem", "REQUESTS_CA_BUNDLE": "/nowhere/ca.pem", "SSL_CERT_DIR": "/nowhere"}


def test_up_works_behind_a_proxy_with_a_wrong_ca_file_in_a_folder_with_packages_of_our_names(tmp_path: Path) -> None:
    """With everything in the environment that must not matter: ``up`` gets ready, and ``status`` finds it."""
    for name in ("deploy", "storage", "streams", "access", "serving", "dashboard", "trainers", "simulation", "httpx", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('code of the working folder was run')\n")
    ports = {f"FEEDBACKLOOP_{name}__PORT": str(free_port()) for name in ("HUB", "PROCESSOR", "TRAINER", "SERVING")}
    surroundings = ports | PROXY | AUTHORITIES | {"NO_PROXY": "", "no_proxy": ""}
    (tmp_path / "feedbackloop.toml").write_text(f'home = "{tmp_path / "of-the-file"}"\n')
    (tmp_path / "of-the-file").mkdir(mode=0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FEEDBACKLOOP_")}
    environment |= {"PYTHONPATH": str(ROOT)} | surroundings
    with (tmp_path / "up.log").open("wb") as said:
        up = subprocess.Popen([*COMMAND, "up"], cwd=tmp_path, env=environment, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 200
        while "\nready\n" not in (text := (tmp_path / "up.log").read_text()):
            assert up.poll() is None, text
            assert time.monotonic() < deadline, text
            time.sleep(0.1)
        assert text.index("chat API") < text.index("\nready\n")
        done = feedbackloop(tmp_path, "status", FEEDBACKLOOP_HOME="", **surroundings)
        assert done.returncode == 0, done.stderr
        written = [tmp_path / "of-the-file", *(tmp_path / "of-the-file").rglob("*")]
        assert not [path for path in written if path.exists() and path.stat().st_mode & 0o077]
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(30)
    assert up.returncode == 0
    logs = "".join(log.read_text() for log in (tmp_path / "of-the-file" / "logs").iterdir())
    assert "nanobind" not in logs
    assert "Traceback" not in logs
