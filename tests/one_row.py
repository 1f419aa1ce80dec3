"""A module that somebody adds, written into a temporary folder: one file of theirs, one row in one of our tables."""

import importlib
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest


def added(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> ModuleType:
    """The module ``name`` with that source, importable until the test ends."""
    (folder / f"{name}.py").write_text(dedent(source).lstrip(), encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.delitem(sys.modules, name)  # forgotten with the test
    sys.modules[name] = module
    return module


def reference() -> ModuleType:
    """``docs/generate.py``, which writes the reference pages."""
    path = Path(__file__).parents[1] / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
