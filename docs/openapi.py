"""Writes the OpenAPI documents of serving and of the hub into a folder, without starting either.

``python docs/openapi.py build/openapi`` writes ``serving.json`` and ``hub.json``, the same that the processes publish at ``/openapi.json``,
and under ``types/`` both without what types of other languages cannot state.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[1]


def main(target: Path) -> None:
    """Write both documents into ``target``."""
    (target / "types").mkdir(parents=True, exist_ok=True)
    for name, document in documents().items():
        for folder, written in ((target, document), (target / "types", simplified(document))):
            (folder / f"{name}.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def documents() -> dict[str, dict[str, Any]]:
    """The documents by process. Routes use their services only on requests, so placeholders suffice."""
    from dashboard import api as hub
    from serving import api as serving
    from serving.openai.exchange import Service
    from trainers.features.settings import FeatureSettings

    nothing = cast(Any, None)
    apps = {"serving": serving.new_app(), "hub": hub.new_app()}
    serving.add_routes(apps["serving"], Service(nothing, nothing, nothing, 1), nothing, FeatureSettings(), nothing)
    hub.add_routes(apps["hub"], cast(Any, SimpleNamespace(intake=nothing, access=nothing)))
    return {name: app.openapi() for name, app in apps.items()}


def simplified(value: Any) -> Any:
    """The document without rules between an object's fields, fields that must be null, and the permission of others."""
    if isinstance(value, list):
        return [simplified(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {name: simplified(each) for name, each in value.items()}
    if isinstance(fields := kept.get("properties"), dict) and kept.get("type") == "object":
        kept["properties"] = {name: each for name, each in fields.items() if each.get("type") != "null"}
        kept = {name: each for name, each in kept.items() if name not in ("allOf", "anyOf", "oneOf")}
        if kept.get("additionalProperties") is True:
            del kept["additionalProperties"]
    return kept


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(Path(sys.argv[1]))
