"""The tables of Local Law 144 as one printable HTML page: no scripts, nothing loaded, equal bytes for equal input."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from html import escape

from trainers.audits.outcomes.impact_ratio import (
    CONFIDENCE,
    EXCLUDED_BELOW,
    FOUR_FIFTHS,
    MINIMUM,
    MINIMUM_SELECTED,
    CategoryRow,
    RatioTable,
)
from trainers.audits.outcomes.tables import OutcomesTable, StageTables

TITLES = {"sex": "Sex", "race_ethnicity": "Race/ethnicity"}
RATES = {"selection": "Selection rate", "scoring": "Scoring rate"}
COUNTED = {"selection": "Selected", "scoring": "Above the median"}

STYLE = """
body { font: 11pt/1.45 Georgia, serif; color: #111; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; break-after: avoid; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; font-size: 10pt; break-inside: avoid; }
caption { text-align: left; font-weight: bold; padding-bottom: .3rem; }
th, td { border: 1px solid #999; padding: .2rem .5rem; text-align: right; vertical-align: top; }
th[scope=row], thead th:first-child { text-align: left; }
thead { display: table-header-group; }
dt { font-weight: bold; }
dd { margin: 0 0 .5rem 1.5rem; }
.verdict { font-weight: bold; }
@page { size: A4; margin: 18mm; }
@media print { body { margin: 0; max-width: none; padding: 0; } section { break-before: page; } }
"""


def page(found: OutcomesTable, distributed: date | None = None) -> str:
    """The page; ``distributed`` is the date on which the company began to use the tool."""
    title = f"Impact ratios, {found.since} to {found.until}"
    stages = "\n".join(_stage(stage) for stage in found.stages) or "<p>No decisions are recorded in this time.</p>"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>Tables of New York City Local Law 144 of 2021, as defined in 6 RCNY § 5-300 to § 5-304. They are the figures for a bias audit.
The law asks for an independent auditor, who decides whether these data are sufficient and dates the audit.</p>
<h2>Data</h2>
{_facts(found, distributed)}
<h2>How to read the tables</h2>
{_method()}
{stages}
</body>
</html>
"""


def _facts(found: OutcomesTable, distributed: date | None) -> str:
    if distributed is not None:
        since = f"{distributed}"
    elif found.first_reply is not None:
        since = f"{found.first_reply:%Y-%m-%d}, the day of the first reply on the log"
    else:
        since = "not known: there is no reply on the log"
    rows = [
        ("Distribution date", since),
        ("Date of the bias audit", "to be entered by the independent auditor"),
        ("Time", f"decisions made from {found.since} to {found.until}, both days included (UTC)"),
        ("Source of the data", f"decisions and groups that the company recorded through the API; origin: {', '.join(found.sources)}"),
        (
            "Explanation",
            "Each unit is the decision about one candidate's application for one position at one stage; of several records of a"
            " decision the latest counts. Groups are those recorded last for the candidate, under a pseudonym. Nothing is inferred"
            " from names or texts.",
        ),
        ("Decisions", f"{found.applications:,} about {found.candidates:,} candidates"),
        ("Candidates without any recorded group", f"{found.without_groups:,}"),
    ]
    return "<dl>\n" + "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows) + "\n</dl>"


def _method() -> str:
    notes = (
        "Selection rate: the share of a category that was selected to move forward. Scoring rate: the share with a score above the median"
        " of the full sample, people with unknown groups included.",
        "Impact ratio: the rate of a category divided by the highest rate of a category.",
        f"Categories with less than {EXCLUDED_BELOW:.0%} of the people in a table are left out of the impact ratios, as § 5-301 (d)"
        " allows, because a few people decide their rates. They are named with their number and rate.",
        "People whose category is not known are in no rate. Their number stands below each table.",
        f"Four fifths (29 CFR § 1607.4 D): lower and upper are one-sided {CONFIDENCE:.0%} bounds of the ratio to the highest rate of a"
        f" category with at least {MINIMUM} people (log method of Katz et al., 1978; half a person is added to each cell where one is"
        f" empty). Passed: the lower bound is above {FOUR_FIFTHS:g}. Failed: the upper bound is below it. Both also need the score test"
        f" of Miettinen and Nurminen (1985) with Yates's continuity correction. Insufficient: neither, fewer people, or fewer than"
        f" {MINIMUM_SELECTED} selected in the category compared with.",
        "A table fails as a whole only after Bonferroni's correction for all pairs of its categories.",
    )
    return "<ul>\n" + "\n".join(f"<li>{escape(note)}</li>" for note in notes) + "\n</ul>"


def _stage(stage: StageTables) -> str:
    lines = [
        f"<section>\n<h2>Stage: {escape(stage.stage)}</h2>",
        f"<p>{stage.applications:,} decisions about {stage.candidates:,} candidates for {stage.positions:,} positions, made from "
        f"{_day(stage.first)} to {_day(stage.last)}.</p>",
        "<h3>Selection</h3>",
        *(_table(table) for table in stage.selection),
        "<h3>Scoring</h3>",
    ]
    if stage.scoring:
        lines.append(f"<p>{stage.scored:,} decisions have a score; the median of the full sample is {stage.median_score:g}.</p>")
        lines += [_table(table) for table in stage.scoring]
    else:
        lines.append("<p>No score is recorded at this stage.</p>")
    return "\n".join([*lines, "</section>"])


def _table(table: RatioTable) -> str:
    names = " and ".join(title_of(attribute) for attribute in table.attributes)
    kind = "Intersectional categories: " if len(table.attributes) > 1 else ""
    ratios = [f"Compared with {' / '.join(table.reference)}" if table.reference else "Nothing to compare"]
    if table.compared_with and table.compared_with != table.reference:
        ratios.append(f"bounds with {' / '.join(table.compared_with)}")
    foot = f"{'; '.join(ratios)}. Known: {table.n:,}. Unknown: {table.unknown:,}. {table.words}"
    if left_out := [" / ".join(row.category) for row in table.rows if row.excluded]:
        foot += f" Left out of the ratios (below {EXCLUDED_BELOW:.0%}): {', '.join(left_out)}."
    header = ("Category", "n", COUNTED[table.basis], RATES[table.basis], "Impact ratio", "Lower", "Upper", "Four fifths")
    return "\n".join(
        [
            f"<table>\n<caption>{escape(kind + names)}</caption>",
            "<thead><tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header) + "</tr></thead>",
            "<tbody>",
            *(_row(row) for row in table.rows),
            "</tbody>\n</table>",
            f'<p><span class="verdict">{escape(table.verdict.capitalize())}.</span> {escape(foot)}</p>',
        ]
    )


def _row(row: CategoryRow) -> str:
    verdict = "left out" if row.excluded else row.verdict or "compared with"
    cells = (f"{row.n:,}", f"{row.selected:,}", *_decimals((row.rate, row.ratio, row.low, row.high)), verdict)
    return f'<tr><th scope="row">{escape(" / ".join(row.category))}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _decimals(figures: Sequence[float | None]) -> Iterable[str]:
    return ("" if figure is None else f"{figure:.3f}" for figure in figures)


def title_of(attribute: str) -> str:
    """The attribute's title: "race_ethnicity" → "Race/ethnicity"."""
    return TITLES.get(attribute, attribute.replace("_", " ").capitalize())


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
