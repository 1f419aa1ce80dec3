"""The version of the running code: every source file of the rooms by its hash, as one artifact."""

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import orjson

from storage.settings import ROOMS

SOURCES = (".py", ".sql", ".toml")


@cache
def code_listing() -> bytes:
    """``{room/path: SHA-256}`` as JSON with sorted keys. Read once: the running code is that of the process's start."""
    files = {}
    for room in ROOMS:
        spec = find_spec(room)
        for root in map(Path, spec.submodule_search_locations or () if spec is not None else ()):
            for path in root.rglob("*"):
                if path.suffix in SOURCES and path.is_file():
                    files[f"{room}/{path.relative_to(root).as_posix()}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return orjson.dumps(files, option=orjson.OPT_SORT_KEYS)
