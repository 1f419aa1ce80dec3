"""What an adapter was made from, in its folder: ``training.json`` for programs, and a model card for people.

Both are functions of the training's inputs and result, so that the same training gives the same bytes. The evaluation is not in them: it
comes later, and is in the report.
"""

import platform
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from storage.files import file_hash, write_atomic
from trainers.data.demonstration import Demonstration
from trainers.data.preference import Preference
from trainers.data.rating import Rating
from trainers.models.references import base_hash
from trainers.policy.training import Trained, TrainingInputs

MANIFEST, CARD = "training.json", "README.md"
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate")  # that decide what a training gives


class TrainingManifest(BaseModel):
    """Everything that decides the adapter, and what the training said of it.

    Attributes
    ----------
    base_hash : of the base model's files; None if they are not in a local folder
    data : SHA-256 of the snapshot's manifest or of the file
    sources : number of rows by source; the rows are of the training stratum
    rows, too_long : trained on, and dropped because they do not fit
    settings : of the method, with its seed
    versions : of Python and of the libraries
    files : SHA-256 by name
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    schema_version: Literal[1] = 1
    method: str
    base: str
    base_hash: str | None
    data: str
    sources: dict[str, int]
    rows: int
    too_long: int
    steps: int
    stopped: str | None
    metrics: dict[str, float]
    settings: dict[str, Any]
    versions: dict[str, str]
    files: dict[str, str]


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that decide what a training gives."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def write_manifest(method: str, training: TrainingInputs, trained: Trained) -> None:
    """Write the manifest and the model card into the adapter's folder."""
    rows: tuple[Preference | Rating | Demonstration, ...] = (*training.preferences, *training.ratings, *training.demonstrations)
    found = TrainingManifest(
        method=method,
        base=training.base,
        base_hash=base_hash(training.base),
        data=training.digest,
        sources=dict(sorted(Counter(row.source for row in rows).items())),
        rows=trained.rows,
        too_long=trained.too_long,
        steps=trained.steps,
        stopped=trained.stopped,
        metrics=dict(trained.metrics),
        settings=training.settings.model_dump(mode="json"),
        versions=library_versions(),
        files={path.name: file_hash(path) for path in sorted(trained.adapter.iterdir()) if path.name not in (MANIFEST, CARD)},
    )
    write_atomic(trained.adapter / MANIFEST, found.model_dump_json(indent=1).encode() + b"\n")
    write_atomic(trained.adapter / CARD, _card(found).encode())


def _card(found: TrainingManifest) -> str:
    """The model card, in the format of the Hugging Face Hub."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=found.base if found.base_hash is None else None,  # only ids are linked
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "recruiting", found.method],
    )
    simulated = " **They are simulated: no person has judged anything.**" if set(found.sources) == {"simulation"} else ""
    counts = ", ".join(f"{count:,} from {source}" for source, count in found.sources.items())
    stopped = f"\nThe training was stopped early: {found.stopped}.\n" if found.stopped else ""
    return f"""---
{data.to_yaml()}
---

# LoRA adapter by {found.method.upper()}

An adapter for `{found.base}`, made by FeedbackLoop from recruiters' judgments. Records: {counts or "none"}.{simulated}
{found.rows:,} rows were trained on in {found.steps:,} steps; {found.too_long:,} did not fit.
{stopped}
It was not evaluated when this was written. `feedbackloop evaluate` compares it with its base model and holds it to the gates.

## How it was made

| | |
|---|---|
{_table({"base model (SHA-256)": found.base_hash or "not local", "data (SHA-256)": found.data} | found.versions)}

## Settings

| setting | value |
|---|---|
{_table(found.settings)}

## Last metrics

| metric | value |
|---|---|
{_table({name: f"{value:.4g}" for name, value in found.metrics.items()})}
"""


def _table(values: Mapping[str, Any]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in values.items())
