"""The public package: its names, and that the client imports nothing of the server."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import feedbackloop

ROOT = Path(__file__).parents[2]


def loaded_by(program: str) -> set[str]:
    """Top-level modules loaded by a fresh interpreter that ran ``program``."""
    ended = f"{program}; import json, sys; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", ended], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_every_public_name_imports_and_an_unknown_one_is_an_attribute_error() -> None:
    assert set(feedbackloop.__all__) <= set(dir(feedbackloop))
    for name in feedbackloop.__all__:
        assert getattr(feedbackloop, name) is not None
    assert re.fullmatch(r"\d+\.\d+\.\d+", feedbackloop.__version__)
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        _ = feedbackloop.Clint
    assert (Path(feedbackloop.__file__).parent / "py.typed").is_file()


def test_the_client_loads_neither_the_server_nor_numpy() -> None:
    rooms = {"storage", "trainers", "streams", "access", "serving", "dashboard", "deploy"}
    heavy = {"numpy", "torch", "transformers", "duckdb", "pyarrow", "fastapi", "dash", "orjson"}
    assert not loaded_by("import feedbackloop") & (rooms | heavy | {"httpx", "pydantic"})
    assert not loaded_by("from feedbackloop import Client; Client()") & (rooms | heavy)


def test_a_missing_training_extra_is_named_in_the_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(feedbackloop, "import_module", missing)
    with pytest.raises(ImportError, match=r"DPOTrainer needs torch.*pip install 'feedbackloop\[train\]'"):
        _ = feedbackloop.DPOTrainer
