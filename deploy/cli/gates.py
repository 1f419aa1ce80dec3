"""``feedbackloop gates``: what this installation's limits do to challengers whose truth is known."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from storage.errors import ConfigurationError
from storage.settings import Settings

gates = typer.Typer(help="The gates and the duel, tried out on simulated challengers.", no_args_is_help=True)

FEW = 2  # runs that are not worth starting processes for


@gates.callback()
def _group() -> None:
    """A group of commands even while it has one."""


@gates.command()
def simulate(
    runs: Annotated[int, typer.Option(min=1, help="Challengers of each kind at the gates; each has 40 duels.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")] = 0,
    limits: Annotated[
        list[str] | None,
        typer.Option(help="Limits to try instead of the configured ones: 'duel.alpha=0.01 gates.win_rate.least=0.6'; may be repeated."),
    ] = None,
    bias: Annotated[
        float, typer.Option(min=0, max=1, help="How far the biased challenger's win rate in the group lies below its win rate in all.")
    ] = 0.35,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file too.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a picture of the result to this HTML file.")] = None,
) -> None:
    """Run synthetic challengers through the real gates and the real duel: how often is a bad one promoted or a good one missed?"""
    from deploy.cli.gates_limits import with_limits
    from deploy.cli.gates_table import as_text
    from trainers.audits.simulation.kinds import kinds
    from trainers.audits.simulation.report import summarised
    from trainers.audits.simulation.runs import SimulatedLimits, run

    for file, option in ((json_file, "--json"), (picture, "--picture")):
        _check_writable(file, option)
    if picture is not None and picture.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--picture {picture}: the picture is an HTML file; end its name with .html")
    try:
        rows = kinds(bias)
    except ValueError as error:
        raise ConfigurationError(f"--bias: {error}; choose a smaller one") from error
    decided = SimulatedLimits.read(with_limits(Settings.read(), limits or ()))
    with _progress() as progress:
        processes = 1 if runs <= FEW else min(2, os.cpu_count() or 1)
        done = run(rows, decided, runs=runs, seed=seed, processes=processes, progress=progress)
    found = summarised(done, rows, decided, runs=runs, seed=seed, bias=bias)
    typer.echo(as_text(found))
    if json_file is not None:
        _write(json_file, json.dumps(found.model_dump(mode="json"), indent=2) + "\n", "--json")
    if picture is not None:
        from deploy.cli.gates_picture import as_html

        _write(picture, as_html(found), "--picture")


def _check_writable(file: Path | None, option: str) -> None:
    """Refuse a file that cannot be written before minutes of work."""
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        raise ConfigurationError(f"{option} {file}: {'a folder; name a file' if file.is_dir() else 'there is no such folder; create it'}")


def _write(file: Path, text: str, option: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{option} {file}: cannot be written: {error.strerror}") from error


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: Sequence[TextColumn | BarColumn | MofNCompleteColumn | TimeRemainingColumn] = (
        TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield progress
