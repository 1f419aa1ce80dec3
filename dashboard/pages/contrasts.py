"""Contrasts between groups of candidates: those of the newest version with what they could have seen, and their trend over versions."""

from collections.abc import Sequence
from typing import Any

from dash import dcc, html

from dashboard.pages import charts, words
from dashboard.pages.markup import aria, at
from dashboard.status.contrasts import Contrast, Family
from dashboard.status.models import VersionShown

UNITS = {"share": "points", "sd": "SD of the reward", "logits": "logits", "log characters": "log length"}
LENGTH = "log characters"  # families of this unit are only in the folded table
COLUMNS = ("Difference", "90% interval", "n", "Would be seen", "Limit")


def newest(version: VersionShown, found: Sequence[Family] | None) -> Any:
    """The families of the newest version: of each the contrast that decides, and, folded, all of them."""
    address = at(f"/promotions/{version.version}")
    title = html.H2(["Newest version, ", dcc.Link(words.isolated(version.version), href=address, className="mono")])
    if not found:
        text = "Its report holds no contrasts that this program can read." if found is not None else "Its report cannot be read."
        return html.Section([title, html.P(text, className="hint")], className="card")
    powers = ", ".join(dict.fromkeys(f"{words.percent(each.power)} for {each.name.split(' by ')[0].lower()}" for each in found))
    hint: list[Any] = [
        "In each row the difference that its data exclude least. “Would be seen” is the smallest difference that is found reliably "
        f"(with a probability of {powers}). What the gates make of it is on ",
        dcc.Link("its review page", href=address),
        ".",
    ]
    main = [(each, each.widest) for each in found if each.unit != LENGTH]
    count = words.plural(sum(len(each.contrasts) for each in found), "comparison")
    every = [(each, contrast) for each in found for contrast in sorted(each.contrasts, key=lambda one: -one.reach)]
    folded = html.Details([html.Summary(f"All {count}, those of length included"), _table(every)], className="facts-block")
    return html.Section([title, html.P(hint, className="hint"), _table(main), folded], className="card", id="newest-contrasts")


def _table(rows: Sequence[tuple[Family, Contrast]]) -> Any:
    names = [html.Th(name, className="number", scope="col") for name in COLUMNS]
    head = html.Thead(html.Tr([html.Th("What", scope="col"), *names, html.Th("", scope="col")]))
    return html.Div(html.Table([head, html.Tbody([_row(*row) for row in rows])], className="table contrasts"), className="scroll")


def _row(family: Family, contrast: Contrast) -> Any:
    about = f"{words.outcome(contrast.outcome)}, {contrast.group} against {contrast.reference}, in {UNITS[family.unit]}"
    interval = contrast.interval
    bounds = f"{_size(interval.low, family.unit)} to {_size(interval.high, family.unit)}" if interval.bounded else "–"
    within = family.excludes(contrast)
    badge = html.Span("Within" if within else "Not excluded", className=f"badge badge-{'passed' if within else 'insufficient'}")
    return html.Tr(
        [
            html.Th([html.Strong(family.name), html.Span(words.isolated(about), className="hint")], scope="row"),
            html.Td(_size(interval.figure, family.unit), className="number strong"),
            html.Td(bounds, className="number"),
            html.Td(words.count(interval.n), className="number"),
            html.Td(_size(contrast.detectable, family.unit, sign=False), className="number"),
            html.Td(["±", _size(family.within, family.unit, sign=False)] if family.within is not None else "–", className="number"),
            html.Td(badge),
        ]
    )


def trend(versions: Sequence[tuple[str, Sequence[Family]]], unread: Sequence[str]) -> Any:
    """A chart for each family over the versions, oldest first: the contrast that decides, its interval and the limit."""
    title = html.H2("Over versions")
    note = f" Their reports cannot be read: {', '.join(unread)}." if unread else ""
    if not versions:
        return html.Section([title, html.P("No version has contrasts to draw." + note, className="hint")], className="card")
    hint = "For each version the difference that its data exclude least, with its 90% interval; dashed lines are the limits of the gate."
    names = {family.key: family for _, found in versions for family in found if family.unit != LENGTH}
    drawn = [
        _chart(family, [(name, each) for name, found in versions for each in found if each.key == key]) for key, family in names.items()
    ]
    return html.Section([title, html.P(hint + note, className="hint"), html.Div(drawn, className="curves")], className="card", id="trend")


def _chart(family: Family, points: Sequence[tuple[str, Family]]) -> Any:
    factor = 100 if family.unit == "share" else 1
    rows = []
    for version, found in points:
        interval = found.widest.interval
        rows.append(
            charts.Estimate(
                version,
                interval.figure * factor,
                interval.low * factor,
                interval.high * factor,
                f"{words.outcome(found.widest.outcome)}, {found.widest.group} against {found.widest.reference}",
            )
        )
    within = points[-1][1].within
    figure = charts.estimates(rows, None if within is None else within * factor)
    last = points[-1][1].widest.interval
    said = f"{family.name}: {_size(last.figure, family.unit)} in {points[-1][0]}, over {words.plural(len(points), 'version')}"
    graph = dcc.Graph(figure=figure, config=charts.CONFIG, responsive=True, className="chart", style={"height": 190})
    title = html.H3([family.name, html.Span(f" {UNITS[family.unit]}", className="unit")])
    return html.Div([title, html.Div(graph, role="img", **aria(label=said))])


def _size(value: float | None, unit: str, *, sign: bool = True) -> str:
    """A difference: of shares in points, of anything else with two decimals."""
    if value is None or value in (float("inf"), float("-inf")):
        return "–"
    plus = "+" if sign else ""
    text = f"{100 * value:{plus}.1f}" if unit == "share" else f"{value:{plus}.2f}"
    return text.replace("-", "\u2212")
