"""The last known state of access, in a file of the home: for starts while the log is down. It holds hashes of keys, no key."""

from pathlib import Path

from pydantic import ValidationError

from access.keys import AccessState
from storage.files import write_atomic

FILE = "access.json"


def remember(home: Path, state: AccessState) -> None:
    """Replace what the file says."""
    write_atomic(home / FILE, state.model_dump_json().encode())


def remembered(home: Path) -> AccessState | None:
    """What the file says; None if there is none that this program can read."""
    try:
        return AccessState.model_validate_json((home / FILE).read_bytes())
    except (OSError, ValidationError):
        return None
