"""The tables of recorded decisions: selection rates, scoring rates and impact ratios with bounds, for each stage."""

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboard.pages import words
from dashboard.pages.markup import aria, at
from storage.events import Verdict
from trainers.audits.outcomes.impact_ratio import CategoryRow, RatioTable
from trainers.audits.outcomes.tables import OutcomesTable, StageTables

FOUR_FIFTHS: dict[Verdict, str] = {"passed": "Above four fifths", "failed": "Below four fifths", "insufficient": "Not shown"}
ATTRIBUTES = {"race_ethnicity": "race/ethnicity"}


def tables(found: OutcomesTable, period: str) -> list[Any]:
    """Every stage with its tables, and the downloads; ``period`` is the query of this selection in the API."""
    count = f"{words.plural(found.applications, 'decision')} about {words.plural(found.candidates, 'candidate')}"
    unknown = (
        f"{words.count(found.without_groups)} of them without a recorded group" if found.without_groups else "all with recorded groups"
    )
    links = [
        html.A("Impact ratios (CSV)", href=at(f"/v1/fairness/impact-ratios.csv?{period}"), download=""),
        html.A("Verdicts (CSV)", href=at(f"/v1/fairness/impact-ratios.csv?{period}&rows=tables"), download=""),
    ]
    summary = html.Div([html.Span(f"{count}, {unknown}."), html.Span(links, className="links")], className="outcomes-head")
    bounds = (
        "An impact ratio is a group's rate divided by the highest rate. The bounds, each one-sided at 95%, compare with the highest rate "
        "of at least 30 people; below .80 with confidence, a group fails the four-fifths rule."
    )
    return [summary, *map(_stage, found.stages), html.P(bounds, className="hint")]


def _stage(stage: StageTables) -> Any:
    hint = f"{words.plural(stage.applications, 'decision')} for {words.plural(stage.positions, 'position')}"
    scoring = (
        [
            html.Details(
                [html.Summary(f"Scores above the median of {stage.median_score:.3g}"), *[_table(each) for each in stage.scoring]],
                className="facts-block",
            )
        ]
        if stage.scoring
        else []
    )
    head = html.Div([html.H3(["Stage ", words.isolated(stage.stage)]), html.Span(hint, className="hint")], className="group-head")
    return html.Section([head, *[_table(each) for each in stage.selection], *scoring], className="stage-tables")


def _table(found: RatioTable) -> Any:
    rate = "Selected" if found.basis == "selection" else "Above the median"
    names = ("People", rate, "Rate", "Impact ratio", "Bounds")
    title = " and ".join(ATTRIBUTES.get(each, each.replace("_", " ")) for each in found.attributes)
    unknown = f" {words.plural(found.unknown, 'person', 'people')} without it." if found.unknown else ""
    caption = html.Caption(
        [html.Strong(["By ", words.isolated(title)]), html.Span([" ", words.isolated(found.words), unknown], className="hint")]
    )
    head = html.Thead(
        html.Tr(
            [
                html.Th("Group", scope="col"),
                *[html.Th(name, className="number", scope="col") for name in names],
                html.Th("Four-fifths rule", scope="col"),
            ]
        )
    )
    if not found.rows:
        return html.Table(caption, className="table ratios")
    body = html.Tbody([_row(each, found.compared_with) for each in found.rows])
    label = f"Impact ratios by {title}"
    return html.Div(html.Table([caption, head, body], className="table ratios", **aria(label=label)), className="scroll")


def _row(row: CategoryRow, compared_with: Sequence[str] | None) -> Any:
    bounds = "–" if row.low is None or row.high is None else f"{row.low:.2f} to {row.high:.2f}"
    return html.Tr(
        [
            html.Th(words.isolated(", ".join(row.category)), scope="row"),
            html.Td(words.count(row.n), className="number"),
            html.Td(words.count(row.selected), className="number"),
            html.Td(words.percent(row.rate, 1), className="number"),
            html.Td("–" if row.ratio is None else f"{row.ratio:.2f}", className="number strong"),
            html.Td(bounds, className="number"),
            html.Td(_rule(row, compared_with)),
        ]
    )


def _rule(row: CategoryRow, compared_with: Sequence[str] | None) -> Any:
    if row.verdict is not None:
        return html.Span(FOUR_FIFTHS[row.verdict], className=f"badge badge-{row.verdict}")
    reason = "Under 2% of the people" if row.excluded else "Others are compared with it" if row.category == compared_with else "–"
    return html.Span(reason, className="hint")
