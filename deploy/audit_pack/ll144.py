"""``feedbackloop audit ll144``: the tables of New York City's Local Law 144 as a printable page and CSV files."""

import csv
import io
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from storage.errors import ConfigurationError
from storage.events import Source
from storage.settings import Settings

if TYPE_CHECKING:
    from trainers.audits.outcomes.impact_ratio import RatioTable
    from trainers.audits.outcomes.tables import OutcomesTable

Cells = tuple[object, ...]

DAY = ["%Y-%m-%d"]
HEADER = (
    "stage", "basis", "attributes", "category", "n", "selected", "rate", "share", "excluded", "impact_ratio", "low", "high", "four_fifths",
)  # fmt: skip
TABLE_HEADER = ("stage", "basis", "attributes", "n", "unknown", "reference", "compared_with", "verdict", "words")


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

    files = {"impact_ratios.html": page(found, distributed), "impact_ratios.csv": categories_csv(found), "tables.csv": tables_csv(found)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigurationError(f"{out}: cannot be written: {error.strerror}") from error
    return [out / name for name in files]


def categories_csv(found: "OutcomesTable") -> str:
    """A row for each category of each table."""
    rows: list[Cells] = []
    for stage, table in _tables(found):
        named = (stage, table.basis, "+".join(table.attributes))
        for row in table.rows:
            figures = (row.n, row.selected, row.rate, row.share, row.excluded, row.ratio, row.low, row.high, row.verdict)
            rows.append((*named, " / ".join(row.category), *figures))
    return _csv(HEADER, rows)


def tables_csv(found: "OutcomesTable") -> str:
    """A row for each table: how many are unknown, what was compared, the verdict."""
    rows: list[Cells] = []
    for stage, table in _tables(found):
        reference, compared = " / ".join(table.reference or ()), " / ".join(table.compared_with or ())
        named = (stage, table.basis, "+".join(table.attributes))
        rows.append((*named, table.n, table.unknown, reference, compared, table.verdict, table.words))
    return _csv(TABLE_HEADER, rows)


def _tables(found: "OutcomesTable") -> "list[tuple[str, RatioTable]]":
    return [(stage.stage, table) for stage in found.stages for table in (*stage.selection, *stage.scoring)]


def _csv(header: tuple[str, ...], rows: list[Cells]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return text.getvalue()


def _cell(value: object) -> object:
    """Spreadsheets run text that begins like a formula; an apostrophe in front makes it text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
