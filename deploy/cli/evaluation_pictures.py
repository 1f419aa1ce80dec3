"""The two pictures of an evaluation: bars of the policies' rewards, and lines over severity. Each is an HTML file that needs no network."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from deploy.cli.gates_picture import BLUE, FONT, GRAY, GREEN, ORANGE
from trainers.audits.statistics.intervals import Interval
from trainers.evaluation.measure import Model, Names
from trainers.evaluation.policies import AGAINST, BEST_OF, RANDOM, RLHF, SFT, PolicyRewards
from trainers.evaluation.robustness import Point, Robustness
from trainers.evaluation.severity import AXES, LEVELS
from trainers.evaluation.table import read_measures
from trainers.runs.report import Report

POLICY_COLORS = {RANDOM: "#868e96", SFT: GRAY, BEST_OF: GREEN, RLHF: BLUE, AGAINST: ORANGE}
MODEL_COLORS: dict[Model, str] = {"challenger": BLUE, "champion": ORANGE, "base": "#868e96"}
MEASURED: tuple[tuple[str, str, Callable[[Point], Interval | None]], ...] = (
    ("reward over base, SD", "+.1f", lambda point: point.reward),
    ("unsupported facts", ".0%", lambda point: point.unsupported),
    ("deflected", ".0%", lambda point: point.deflected),
    ("characters", ".0f", lambda point: point.length),
)
OFFSET = 0.06  # between the models' points of one level, so that their bars do not cover each other


def write_pictures(report: Report, folder: Path) -> list[Path]:
    """Write ``policies.html`` and ``severity.html``; one whose measure is missing from the report is left out."""
    found = read_measures(report.measures)
    pages: dict[str, str] = {}
    if isinstance(policies := found.get("policies"), PolicyRewards):
        pages["policies.html"] = policies_html(policies, report)
    if isinstance(robustness := found.get("robustness"), Robustness):
        pages["severity.html"] = severity_html(robustness, report)
    for name, page in pages.items():
        (folder / name).write_text(page, encoding="utf-8")
    return [folder / name for name in pages]


def policies_html(found: PolicyRewards, report: Report) -> str:
    """Bars of each policy: its reward by the reward model, and how often held-out recruiters prefer it to SFT."""
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    labels = {RANDOM: "random", SFT: "SFT", BEST_OF: f"best of {found.best_of}", RLHF: f"RLHF<br>{escape(report.version)}"}
    labels[AGAINST] = f"against<br>{escape(report.champion)}"
    names = [labels[each.name] for each in found.policies]
    colors = [POLICY_COLORS[each.name] for each in found.policies]
    titles = ("Reward over SFT, by the reward of the training stratum", "Preferred to SFT, by held-out recruiters")
    figure = make_subplots(rows=1, cols=2, subplot_titles=titles, horizontal_spacing=0.1)
    for column, values, form in (
        (1, [each.reward for each in found.policies], "+.2f"),
        (2, [each.preferred for each in found.policies], ".0%"),
    ):
        bars = go.Bar(
            x=names, y=[each.figure for each in values], marker={"color": colors}, error_y=_bars(values, "#343a40"),
            hovertemplate=f"%{{y:{form}}}<extra></extra>", showlegend=False,
        )  # fmt: skip
        figure.add_trace(bars, row=1, col=column)
        for name, each in zip(names, values, strict=True):
            top = each.high if each.bounded else each.figure
            figure.add_annotation(
                x=name, y=max(top, 0), yshift=12, text=f"{each.figure:{form}}", showarrow=False, row=1, col=column
            )  # fmt: skip
    figure.update_yaxes(title="standard deviations of judged replies", zeroline=True, zerolinecolor="#343a40", row=1, col=1)
    figure.update_yaxes(range=[0, 1.05], tickformat=".0%", title="share of comparisons, ties half", row=1, col=2)
    figure.add_hline(y=0.5, line={"color": "#343a40", "dash": "dot"}, row=1, col=2)
    title = f"<b>Rewards of policies</b><br><sup>{found.prompts} held-out prompts; error bars are 95% intervals{_marked(report)}</sup>"
    return _html(figure, title, "Rewards of policies", height=520)


def severity_html(found: Robustness, report: Report) -> str:
    """Lines over severity: a row for each thing measured, a column for each axis, a line for each model."""
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    names = Names(escape(report.version), escape(report.champion))
    measured = [each for each in MEASURED if any(each[2](point) is not None for point in found.points)]
    figure = make_subplots(
        rows=len(measured), cols=len(AXES), column_titles=[axis.words for axis in AXES], shared_xaxes=True, shared_yaxes="rows",
        horizontal_spacing=0.025, vertical_spacing=0.05,
    )  # fmt: skip
    for row, (title, form, read) in enumerate(measured, 1):
        for column, axis in enumerate(AXES, 1):
            for place, model in enumerate(found.models):
                points = [(point.severity, value) for point in found.line(axis.name, model) if (value := read(point)) is not None]
                line = go.Scatter(
                    x=[severity + OFFSET * (place - (len(found.models) - 1) / 2) for severity, _ in points],
                    y=[value.figure for _, value in points], mode="lines+markers", name=names.of(model), legendgroup=model,
                    showlegend=row == column == 1, line={"color": MODEL_COLORS[model], "width": 2}, marker={"size": 7},
                    error_y=_bars([value for _, value in points], MODEL_COLORS[model]), hovertemplate=f"%{{y:{form}}}",
                )  # fmt: skip
                figure.add_trace(line, row=row, col=column)
        figure.update_yaxes(title=title, row=row, col=1)
        figure.update_yaxes(tickformat=form, range=_range([value for point in found.points if (value := read(point)) is not None]), row=row)
    figure.update_xaxes(tickvals=list(LEVELS), range=[-0.3, LEVELS[-1] + 0.3])
    figure.update_xaxes(title="severity", row=len(measured))
    prompts = found.points[0].prompts
    title = (
        "<b>Replies as prompts move away from the held-out ones</b>"
        f"<br><sup>severity 0: as held out; {prompts} prompts a point; error bars are 95% intervals{_marked(report)}</sup>"
    )
    return _html(figure, title, "Robustness over severity", height=190 * len(measured) + 170)


def _range(values: Sequence[Interval]) -> list[float]:
    """From 0, or the lowest bound below it, to the highest bound, with some room; plotly fits no axes that are shared by subplots."""
    ends = [0.0, *(end for each in values for end in ((each.low, each.high) if each.bounded else (each.figure,)))]
    room = 0.06 * (max(ends) - min(ends)) or 0.1
    return [min(ends) - room, max(ends) + room]


def _bars(values: Sequence[Interval], color: str) -> dict[str, Any]:
    return {
        "type": "data", "symmetric": False, "color": color, "thickness": 1.5, "width": 4,
        "array": [each.high - each.figure if each.bounded else 0 for each in values],
        "arrayminus": [each.figure - each.low if each.bounded else 0 for each in values],
    }  # fmt: skip


def _marked(report: Report) -> str:
    return "; <b>simulated data</b>" if report.simulated else ""


def _html(figure: Any, title: str, name: str, height: int) -> str:
    figure.update_layout(
        title={"text": title, "x": 0.02, "y": 0.97, "yanchor": "top"}, template="plotly_white", height=height, width=1100,
        font={"family": FONT, "size": 13}, margin={"l": 80, "r": 30, "t": 110, "b": 60},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "yref": "container", "y": 0.965, "yanchor": "top"},
    )  # fmt: skip
    html: str = figure.to_html(full_html=True, include_plotlyjs=True, config={"displaylogo": False, "plotlyServerURL": ""})
    return html.replace("<head>", f'<head><meta name="viewport" content="width=device-width"><title>{name}</title>', 1)
