"""``feedbackloop evaluate``: one model against another, by the gates of the loop and by further figures, with two pictures."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.sources import Origin, chosen_sources
from storage.errors import ConfigurationError
from storage.settings import Settings

if TYPE_CHECKING:
    from storage.events import Source
    from trainers.runs.report import Report


def evaluate(
    version: Annotated[
        str,
        typer.Argument(
            help="The model: a version of the running loop (v-…, or its first characters), champion, base, a folder with an adapter or a "
            "model, a Hugging Face id, or shipped."
        ),
    ],
    against: Annotated[
        str | None, typer.Option(help="The model to compare with, named likewise; by default the champion, or else the base model.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Preference records or a snapshot's folder; by default the warehouse's evaluation stratum.")
    ] = None,
    source: Annotated[
        list[Origin] | None, typer.Option(help="Sources of the warehouse's judgments; by default the configured sources and imports.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report.json, policies.html and severity.html.")] = Path("out"),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file too.")] = None,
) -> None:
    """Evaluate a model: gates and verdict, win rate, reward, tasks, KL, overlap, robustness; each figure with an interval."""
    if out.exists() and not out.is_dir():
        raise ConfigurationError(f"--out {out}: a file; name a folder")
    report, text = evaluated(Settings.read(), version, against, data, [origin.value for origin in source or ()], out, typer.echo)
    typer.echo(text)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def evaluated(
    settings: Settings,
    version: str,
    against: str | None,
    data: Path | None,
    sources: "Sequence[Source]",
    out: Path,
    say: Callable[[str], None],
) -> "tuple[Report, str]":
    """The report, which is written to ``out`` with the pictures, and the text that the command prints.

    Raises
    ------
    ConfigurationError, ModelNotFound
        There is no such version, model, file or loop.
    DataRefused
        There is nothing to evaluate on.
    """
    from deploy.cli.contenders import ModelNames
    from deploy.cli.evaluation_data import evaluation_data
    from trainers.models.references import fetch_model

    for name in filter(None, (settings.common.model, version, against)):
        fetch_model(name, say)
    names = ModelNames(settings)
    ours = names.find(version)
    theirs = names.opponent(ours) if against is None else names.find(against)
    with evaluation_data(settings, data, chosen_sources(settings, sources), say) as records:
        from deploy.cli.evaluation_pictures import write_pictures
        from deploy.cli.evaluation_text import as_text
        from deploy.cli.simulated_tasks import simulated_tasks
        from deploy.cli.stage_progress import data_report, stage_progress
        from trainers.api import evaluate_policy
        from trainers.evaluation.settings import MeasureSettings

        measures = settings.section("measures", MeasureSettings)
        tasks = simulated_tasks(measures.tasks, measures.seed)
        report = evaluate_policy(
            settings, records, ours, theirs, out, stage_progress(say), data_report(say), measures=measures, tasks=tasks
        )
    written = [out / "report.json", *write_pictures(report, out)]
    same = ["both are the same model: its figures say something, their differences do not"] if ours.ref == theirs.ref else []
    return report, "\n".join([as_text(report), *same, *(f"written: {path}" for path in written)])
