"""Only the owner may read what a service writes."""

import os
import stat
from pathlib import Path

import pytest

from storage.errors import ConfigurationError
from storage.home import open_home


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_home_is_closed_to_others(tmp_path: Path) -> None:
    assert mode(open_home(tmp_path / "below" / "home")) == 0o700


def test_a_home_that_was_open_is_closed_with_what_a_service_wrote_there(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("bus.sqlite", "bus.sqlite-wal", "warehouse.duckdb", "learner/abc/head.safetensors", "somebody/notes.txt", "notes.txt"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
        (home / name).chmod(0o644)
    for folder in (home, home / "learner", home / "somebody"):
        folder.chmod(0o755)
    open_home(home)
    assert mode(home) == mode(home / "learner") == 0o700
    ours = ("bus.sqlite", "bus.sqlite-wal", "warehouse.duckdb", "learner/abc/head.safetensors")
    assert {mode(home / name) for name in ours} == {0o600}
    assert mode(home / "notes.txt") == mode(home / "somebody" / "notes.txt") == 0o644, "what is not ours stays as it was"


def test_a_link_in_it_does_not_change_what_it_leads_to(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir(mode=0o755)
    elsewhere.mkdir(mode=0o755)
    (home / "artifacts").symlink_to(elsewhere)
    open_home(home)
    assert mode(elsewhere) == 0o755


def test_a_home_that_cannot_be_made_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"home = .*file/home: Not a directory; make it writable, or set FEEDBACKLOOP_HOME"):
        open_home(tmp_path / "file" / "home")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_is_read_only_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o500)
    with pytest.raises(ConfigurationError, match="may not write there"):
        open_home(tmp_path / "home")
