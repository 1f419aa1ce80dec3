"""The references are generated from the code, and nothing is undocumented."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from storage.events import EVENTS
from storage.settings import Common, sections

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["", *sections()])
def test_every_setting_has_a_line_of_its_own(generate: ModuleType, name: str) -> None:
    def check(model: type[BaseModel]) -> None:
        described: dict[str, Any] = generate.attributes(model)
        missing = [
            key
            for key, field in model.model_fields.items()
            if key not in described
            and key not in ("host", "port")
            and not isinstance(field.get_default(call_default_factory=True), BaseModel)
        ]
        assert not missing or len(model.model_fields) <= 4, (
            f"[{name}] {model.__name__}: say in its docstring what {', '.join(missing)} means"
        )

    check(sections()[name] if name else Common)


def test_every_event_says_what_it_is(generate: ModuleType) -> None:
    page = generate.events()
    for kind in EVENTS.values():
        assert kind.__doc__, kind.__name__
        assert f"### {kind.__name__}, version" in page


def test_every_command_and_option_has_help(generate: ModuleType) -> None:
    page = generate.commands()
    for words in (
        "up",
        "demo",
        "train",
        "evaluate",
        "import",
        "export",
        "verify",
        "replay",
        "settings",
        "quarantine retry",
        "topics create",
    ):
        assert f"## `feedbackloop {words}`" in page
    rows = [line for line in page.splitlines() if line.startswith("| `--")]
    assert len(rows) > 20
    assert [row for row in rows if row.split("|")[2].strip() == ""] == []


def test_every_request_says_what_it_does(generate: ModuleType) -> None:
    for document in generate.openapi().values():
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert operation.get("description"), f"{method} {path}"
    page = generate.http()
    assert "`POST /v1/chat/completions`" in page
    assert "`messages`" in page
    assert "`pair_id`" in page


def test_every_module_says_why_it_exists(generate: ModuleType) -> None:
    silent = [str(path) for path in generate.modules() if not generate.first_sentence(path)]
    assert silent == []
    assert len(generate.modules()) > 150
