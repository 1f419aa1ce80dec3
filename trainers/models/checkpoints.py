"""From which checkpoint of transformers' Trainer a killed training goes on."""

import json
import shutil
from pathlib import Path


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint. The trainer writes ``trainer_state.json`` last: one without it is incomplete and is removed."""
    complete = []
    for path in folder.glob("checkpoint-*"):
        if (path / "trainer_state.json").is_file() and _is_json(path / "trainer_state.json"):
            complete.append(path)
        else:
            shutil.rmtree(path)
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2]))) if complete else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
