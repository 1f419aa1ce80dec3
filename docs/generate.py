"""Writes the documentation site's pages into a folder: the hand-written ones, and references generated from the code.

``make docs`` calls it before mkdocs: ``python docs/generate.py build/docs``.
"""

import argparse
import ast
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import typer.main
from click import Argument, Group, Option
from pydantic import BaseModel, SecretStr

ROOT = Path(__file__).resolve().parents[1]
COMMON = ("kind", "schema_version", "event_id", "occurred_at", "source")  # fields of every event
ROOMS = ("feedbackloop", "storage", "trainers", "streams", "access", "serving", "dashboard", "deploy", "simulation", "benchmarks")


def main(target: Path) -> None:
    """Write every page into ``target``, which is emptied first."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "docs", target, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, page in (("CHANGELOG.md", "changelog.md"), ("CONTRIBUTING.md", "contributing.md"), ("SECURITY.md", "reporting.md")):
        shutil.copy(ROOT / name, target / page)
    reference = target / "reference"
    reference.mkdir()
    for page, text in pages().items():
        (reference / f"{page}.md").write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The generated pages by name."""
    return {"settings": settings(), "events": events(), "http": http(), "commands": commands(), "files": files()}


# ---- settings


def settings() -> str:
    """Every section with its keys."""
    from storage.settings import Common, sections

    lines = [
        "# Settings",
        "",
        "In `feedbackloop.toml`, in `.env`, or as variables: `FEEDBACKLOOP_HOME` sets the key `home` of the top level,",
        "`FEEDBACKLOOP_SERVING__PORT` the key `port` of `[serving]`. `feedbackloop settings` prints the effective ones and their origin.",
    ]
    for name, model in {"": Common, **sections()}.items():
        lines += ["", f"## `[{name}]`" if name else "## Top level", "", *_keys(model)]
    return "\n".join(lines) + "\n"


def _keys(model: type[BaseModel]) -> Iterator[str]:
    described = attributes(model)
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for key, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            inner = type(default)
            for name, about in inner.model_fields.items():
                kind, value = _type(about.annotation), _shown(getattr(default, name))
                yield f"| `{key}.{name}` | {kind} | {value} | {_cell(attributes(inner).get(name, _first_line(inner)))} |"
        else:
            yield f"| `{key}` | {_type(field.annotation)} | {_shown(default)} | {_cell(described.get(key, _first_line(model)))} |"


def attributes(model: type[Any]) -> dict[str, str]:
    """The descriptions in the "Attributes" section of a numpydoc docstring, and of those that it inherits from, by name."""
    found = attributes(model.__base__) if model.__base__ is not None else {}
    _, _, body = inspect.cleandoc(model.__doc__ or "").partition("Attributes\n----------\n")
    names: list[str] = []
    for line in body.split("\n\n")[0].splitlines():
        head = re.match(r"^([\w, ]+) : (.*)", line)
        if head:
            names = [name.strip() for name in head[1].split(",")]
            found |= dict.fromkeys(names, head[2])
        elif line.startswith(" "):
            for name in names:
                found[name] += f" {line.strip()}"
    return found


def _type(annotation: Any) -> str:
    text = getattr(annotation, "__name__", None) if isinstance(annotation, type) else str(annotation)
    short = re.sub(r"(typing|pathlib|pydantic.types|storage.events.fields|collections.abc)\.", "", text or str(annotation))
    return f"`{_cell(short)}`"


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr) or value in ("", None):
        return "" if value != "" else "empty"
    return f"`{_cell(str(value))}`"


def _cell(text: str) -> str:
    return re.sub(r"``([^`]*)``", r"`\1`", text).replace("|", "\\|").replace("\n", " ")


def _first_line(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


# ---- events


def events() -> str:
    """Every topic with its events and their fields."""
    from storage.events import newest_version
    from streams.bus.topics import TOPICS

    lines = [
        "# Events",
        "",
        "JSON in UTF-8, unknown fields refused. Common to all: `kind`, `schema_version`, `event_id`, `occurred_at`, `source`.",
    ]
    for topic in TOPICS.values():
        key = f"keyed by `{topic.key}`" if topic.key else "in one order"
        lines += ["", f"## `{topic.name}`", "", f"{topic.partitions} partition{'s' if topic.partitions > 1 else ''}, {key}."]
        for kind in topic.kinds:
            lines += ["", f"### {kind.__name__}, version {newest_version(kind)}", "", _prose(kind), "", "| field | type |", "|---|---|"]
            own = [name for name in kind.model_fields if name not in COMMON]
            lines += [f"| `{name}` | {_type(kind.model_fields[name].annotation)} |" for name in own]
    return "\n".join(lines) + "\n"


def _prose(thing: Any) -> str:
    return re.sub(r"``([^`]*)``", r"`\1`", inspect.getdoc(thing) or "")


# ---- HTTP


def http() -> str:
    """Both OpenAPI documents, request by request."""
    lines = ["# HTTP", "", 'Errors have OpenAI\'s shape: `{"error": {"message", "type", "param", "code"}}`.']
    for title, document in openapi().items():
        lines += ["", f"## {title}"]
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                lines += ["", f"### `{method.upper()} {path}`", "", operation.get("description") or operation.get("summary", "")]
                parameters = operation.get("parameters", [])
                if parameters:
                    lines += ["", "| parameter | in | |", "|---|---|---|"]
                    lines += [f"| `{each['name']}` | {each['in']} | {'needed' if each.get('required') else ''} |" for each in parameters]
                body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
                if body:
                    lines += ["", "Body: " + ", ".join(f"`{name}`" for name in _fields_of(body, document))]
    return "\n".join(lines) + "\n"


def openapi() -> dict[str, dict[str, Any]]:
    """The OpenAPI documents of serving and of the hub."""
    from docs.openapi import documents

    found = documents()
    return {"Serving, port 8000": found["serving"], "The hub, port 8050": found["hub"]}


def _fields_of(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        return sorted({name for each in schema["oneOf"] for name in _fields_of(each, document)})
    return list(schema.get("properties", {}))


# ---- commands


def commands() -> str:
    """Every command with its arguments and options."""
    from deploy.cli.main import app

    lines = ["# Commands"]
    for words, command in _commands("feedbackloop", cast(Group, typer.main.get_command(app))):
        lines += ["", f"## `{words}`", "", (command.help or "").strip()]
        rows = [_parameter(each) for each in command.params if not (isinstance(each, Option) and "--help" in each.opts)]
        if rows:
            lines += ["", "| | |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _commands(words: str, group: Group) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(f"{words} {name}", cast(Group, command))
        else:
            yield f"{words} {name}", command


def _parameter(parameter: Any) -> str:
    if isinstance(parameter, Argument):
        return f"| `{(parameter.metavar or parameter.name or '').upper()}` | {_cell(getattr(parameter, 'help', None) or '')} |"
    default = "" if parameter.default in (None, False, ()) or callable(parameter.default) else f" (default `{parameter.default}`)"
    return f"| `{', '.join(parameter.opts)}` | {_cell(parameter.help or '')}{default} |"


# ---- the file tree


def files() -> str:
    """Every module with the first sentence of its docstring."""
    lines = ["# Files", "", "Every module and its purpose."]
    folder = ""
    for path in modules():
        here = str(path.parent)
        if here != folder:
            folder = here
            lines += ["", f"## `{folder}/`", "", "| file | |", "|---|---|"]
        lines.append(f"| `{path.name}` | {_cell(first_sentence(path))} |")
    return "\n".join(lines) + "\n"


def modules() -> list[Path]:
    """The project's modules, relative to its root, without empty ones."""
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return sorted(path for each in listed if (path := Path(each)).suffix == ".py" and (ROOT / path).stat().st_size)


def first_sentence(path: Path) -> str:
    """Of the module's docstring, on one line."""
    doc = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=[.?!])\s", doc.split("\n\n")[0].replace("\n", " "))[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the documents, generated pages among them, into a folder for mkdocs.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    sys.path.insert(0, str(ROOT))
    main(folder)
