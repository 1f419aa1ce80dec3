"""``feedbackloop audit ll144``: the tables of New York City's Local Law 144 as a printable page and CSV files."""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from deploy.audit_pack.files import write_files
from storage.errors import ConfigurationError
from storage.events import Source
from storage.settings import Settings

if TYPE_CHECKING:
    from trainers.audits.outcomes.tables import OutcomesTable

DAY = ["%Y-%m-%d"]


def ll144(
    since: Annotated[datetime, typer.Option("--from", formats=DAY, help="First day of the decisions (UTC).")],
    until: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last day of the decisions (UTC), included.")],
    out: Annotated[Path, typer.Option(help="The folder to write to; files of the same name are replaced.")],
    distributed: Annotated[
        datetime | None,
        typer.Option(
            "--distribution-date", formats=DAY, help="The day on which the tool was first used. Default: that of the first reply."
        ),
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="Decisions of this origin: product or simulation; may be repeated.")] = None,
) -> None:
    """Write selection rates, scoring rates and impact ratios of recorded decisions as an HTML page for print and as CSV files."""
    from deploy.cli.records import impact_ratios

    sources = tuple(source or ["product"])
    if unknown := [each for each in sources if each not in ("product", "simulation", "import", "ai")]:
        raise ConfigurationError(f"--source {unknown[0]}: choose product, simulation, import or ai")
    found = impact_ratios(Settings.read(), since.date(), until.date(), cast(tuple[Source, ...], sources))
    for path in write(found, out, distributed.date() if distributed else None):
        typer.echo(str(path))
    if not found.applications:
        typer.echo(f"no decisions of {', '.join(sources)} are recorded from {found.since} to {found.until}; send them to POST /v1/outcomes")


def write(found: "OutcomesTable", out: Path, distributed: date | None = None) -> list[Path]:
    """Write the files; equal tables give equal bytes.

    Raises
    ------
    ConfigurationError
        The folder cannot be written.
    """
    from deploy.audit_pack.ll144_page import page
    from trainers.audits.outcomes.csv_files import categories_csv, tables_csv

    files = {"impact_ratios.html": page(found, distributed), "impact_ratios.csv": categories_csv(found), "tables.csv": tables_csv(found)}
    return write_files(out, files)
