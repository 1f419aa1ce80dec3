"""Training runs: list them, as the hub does, and show one from the log, with the command that repeats its training."""

import json
import shlex
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from storage.artifacts import Artifacts
from storage.errors import ConfigurationError
from storage.settings import Settings
from streams.bus.open import bus_of
from streams.bus.scan import to_end
from streams.bus.topics import FROZEN, PROGRESS, REQUESTED, VERSIONS
from streams.runs import Run, fold

runs = typer.Typer(help="Training runs: list them, and repeat one.", invoke_without_command=True)


@runs.callback()
def list_runs(
    context: typer.Context, json_file: Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")] = None
) -> None:
    """Training runs, the newest first; ``show`` shows one."""
    if context.invoked_subcommand is not None:
        return
    from deploy.cli.client import get
    from deploy.cli.summary import runs_as_text

    found = get(Settings.read(), "/v1/runs")
    typer.echo(runs_as_text(found["runs"]))
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


@runs.command()
def show(run_id: Annotated[str, typer.Argument(help="The run's id, or its first characters.")]) -> None:
    """Show a run's data, settings and result, and the command that repeats its training."""
    settings = Settings.read()
    found = {each: run for each, run in _runs(settings).items() if str(each).startswith(run_id)}
    if len(found) != 1:
        raise ConfigurationError(f"{len(found)} runs have an id that starts with {run_id!r}; `feedbackloop runs` lists them")
    ((whole_id, run),) = found.items()
    for name, value in about(whole_id, run, settings).items():
        typer.echo(f"{name:<12} {value}")


def state(run: Run) -> str:
    """What has become of the run, in a word or two."""
    if run.evaluated is not None:
        return f"{run.evaluated.version} {run.evaluated.verdict}"
    if run.failed is not None:
        return f"failed in {run.failed.stage}: {run.failed.reason}"
    return "training" if run.attempt else "frozen" if run.frozen is not None else "requested"


def about(run_id: UUID, run: Run, settings: Settings) -> Mapping[str, str]:
    """The lines that ``show`` prints, by name."""
    request, frozen = run.request, run.frozen
    if request is None:
        raise ConfigurationError(f"run {run_id}: its request is not on the log")
    lines = {
        "run": str(run_id),
        "requested": f"{request.occurred_at:%Y-%m-%d %H:%M:%S} ({request.threshold} {request.k})",
        "method": request.method,
        "sources": ", ".join(request.sources),
        "state": state(run),
    }
    if run.evaluated is not None:
        lines |= {"policy": run.evaluated.policy, "report": run.evaluated.report}
    if frozen is None or request.settings is None:
        return lines
    artifacts = Artifacts(settings.common.artifacts_url)
    command = ["feedbackloop", "train", "--config", str(artifacts.get(request.settings)), "--data", str(artifacts.get(frozen.snapshot))]
    command += ["--model", settings.common.model, "--out", f"repeat-{str(run_id)[:8]}"]
    return lines | {"snapshot": frozen.snapshot, "settings": request.settings, "repeat": shlex.join(command)}


def _runs(settings: Settings) -> Mapping[UUID, Run]:
    with closing(bus_of(settings)) as bus:
        return fold(to_end(bus, [REQUESTED, FROZEN, PROGRESS, VERSIONS], "runs"))
