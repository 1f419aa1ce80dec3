"""The tables of impact ratios as CSV, for auditors: of the hub, the fairness page and ``feedbackloop audit ll144``."""

import csv
import io

from trainers.audits.outcomes.impact_ratio import RatioTable
from trainers.audits.outcomes.tables import OutcomesTable

Cells = tuple[object, ...]

HEADER = (
    "stage", "basis", "attributes", "category", "n", "selected", "rate", "share", "excluded", "impact_ratio", "low", "high", "four_fifths",
)  # fmt: skip
TABLE_HEADER = ("stage", "basis", "attributes", "n", "unknown", "reference", "compared_with", "verdict", "words")


def categories_csv(found: OutcomesTable) -> str:
    """A row for each category of each table."""
    rows: list[Cells] = []
    for stage, table in _tables(found):
        named = (stage, table.basis, "+".join(table.attributes))
        for row in table.rows:
            figures = (row.n, row.selected, row.rate, row.share, row.excluded, row.ratio, row.low, row.high, row.verdict)
            rows.append((*named, " / ".join(row.category), *figures))
    return _csv(HEADER, rows)


def tables_csv(found: OutcomesTable) -> str:
    """A row for each table: how many are unknown, what was compared, the verdict."""
    rows: list[Cells] = []
    for stage, table in _tables(found):
        reference, compared = " / ".join(table.reference or ()), " / ".join(table.compared_with or ())
        named = (stage, table.basis, "+".join(table.attributes))
        rows.append((*named, table.n, table.unknown, reference, compared, table.verdict, table.words))
    return _csv(TABLE_HEADER, rows)


def _tables(found: OutcomesTable) -> list[tuple[str, RatioTable]]:
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
