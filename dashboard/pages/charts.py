"""The charts. Colours of text and grid come from ``assets/style.css``, so that one figure serves the light and the dark theme."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from trainers.policy.training_curve import CurvePoint, fitted_law, law

CONFIG: Any = {"displayModeBar": False, "staticPlot": False, "responsive": True}
BLUE = "#4c6ef5"
ORANGE = "#e8870e"  # distinguishable from the blue with every kind of colour vision
GREY = "#8a8f98"


def _plain(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        margin={"l": 44, "r": 12, "t": 8, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 12, "color": GREY},
        showlegend=False,
        hovermode="x unified",
        uirevision="kept",
    )
    figure.update_xaxes(showgrid=False, zeroline=False, ticks="", automargin=True)
    figure.update_yaxes(zeroline=False, ticks="", automargin=True)
    return figure


def accuracy(points: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Prequential accuracy over judgments, with a line at chance (50%); points of fewer than 20 decisive judgments are left out."""
    shown = [point for point in points if point["accuracy"] is not None and point["n"] >= 20]
    seen = [point["judgments"] for point in shown]
    share = [100 * point["accuracy"] for point in shown]
    figure = go.Figure()
    figure.add_hline(
        y=50,
        line={"color": GREY, "width": 1, "dash": "dot"},
        annotation={"text": "chance", "font": {"color": GREY}},
        annotation_position="bottom right",
    )
    figure.add_scatter(
        x=seen,
        y=share,
        mode="lines",
        line={"color": BLUE, "width": 2.5, "shape": "spline", "smoothing": 0.4},
        name="predicted right",
        hovertemplate="%{y:.1f}%",
    )
    if shown:
        figure.add_scatter(x=seen[-1:], y=share[-1:], mode="markers", marker={"color": BLUE, "size": 9}, hoverinfo="skip")
    low = min([45.0, *share]) - 3
    high = max([75.0, *share]) + 3
    figure = _plain(figure)
    figure.update_xaxes(title="judgments learnt", rangemode="tozero")
    figure.update_yaxes(range=[low, high], ticksuffix="%", nticks=6)
    return figure


def calibration(bins: Sequence[tuple[float, float, float, float, int]]) -> go.Figure:
    """Shares that chose the likelier side over its predicted probability: (predicted, share, low, high, answers), with the diagonal."""
    figure = go.Figure()
    figure.add_scatter(x=[50, 100], y=[50, 100], mode="lines", line={"color": GREY, "width": 1, "dash": "dot"}, hoverinfo="skip")
    figure.add_scatter(
        x=[100 * predicted for predicted, *_ in bins],
        y=[100 * share for _, share, *_ in bins],
        mode="markers",
        marker={"color": BLUE, "size": 9},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [100 * (high - share) for _, share, _, high, _ in bins],
            "arrayminus": [100 * (share - low) for _, share, low, _, _ in bins],
            "color": BLUE,
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[answers for *_, answers in bins],
        hovertemplate="%{y:.0f}% of %{customdata}<extra></extra>",
    )
    figure = _plain(figure)
    figure.update_xaxes(title="predicted", range=[48, 101], ticksuffix="%")
    figure.update_yaxes(title="chosen", range=[0, 102], ticksuffix="%", nticks=6)
    return figure


def wealth(judgments: Sequence[int], values: Sequence[float], needed: float) -> go.Figure:
    """The wealth of the bet on the challenger over the judgments of a duel, on a log scale, with the line that wins."""
    figure = go.Figure()
    figure.add_hline(y=needed, line={"color": ORANGE, "width": 1.5, "dash": "dash"})
    figure.add_annotation(  # annotations of a log axis are placed by the logarithm, which the annotation of a line is not
        x=0, xref="paper", y=math.log10(needed), text="wins", showarrow=False, xanchor="left", yanchor="bottom", font={"color": ORANGE}
    )
    figure.add_hline(y=1, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.add_scatter(
        x=list(judgments), y=list(values), mode="lines", line={"color": BLUE, "width": 2.5}, name="evidence", hovertemplate="%{y:.3g}"
    )
    figure = _plain(figure)
    figure.update_xaxes(title="judgments that count", rangemode="tozero")
    low, high = min([0.5, *values]), max([2 * needed, *values])
    steps = (1, 2, 5) if high / low < 1e3 else (1,)
    ticks = [step * 10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1) for step in steps]
    figure.update_yaxes(type="log", title="evidence", range=[math.log10(low) - 0.1, math.log10(high) + 0.1])
    figure.update_yaxes(tickmode="array", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return figure


def overoptimisation(points: Sequence[CurvePoint]) -> go.Figure:
    """Both rewards of a training over its distance from the reference, sqrt(KL), with the fitted law of the first and the kept policy."""
    distances = [math.sqrt(max(point.kl, 0.0)) for point in points]
    proxy, second = [point.proxy for point in points], [point.second for point in points]
    figure = go.Figure()
    try:
        alpha, beta = fitted_law(distances, proxy)
    except ValueError:
        pass
    else:
        x = np.linspace(0, max(distances), 60)
        fitted = law(x, alpha, beta)
        name = f"x ({alpha:.2f} {'−' if beta >= 0 else '+'} {abs(beta):.2f} ln x)"
        figure.add_scatter(
            x=x.tolist(), y=fitted.tolist(), mode="lines", line={"color": BLUE, "width": 1, "dash": "dot"}, name=name, hoverinfo="skip"
        )
    for name, values, colour in (("optimised", proxy, BLUE), ("second", second, ORANGE)):
        if all(value is not None for value in values):
            figure.add_scatter(
                x=distances,
                y=values,
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": 6},
                name=name,
                customdata=[point.step for point in points],
                hovertemplate="%{y:.2f} after step %{customdata}",
            )
    kept = next((i for i, point in enumerate(points) if point.kept), None)
    if kept is not None:
        figure.add_vline(x=distances[kept], line={"color": GREY, "width": 1, "dash": "dash"})
        figure.add_annotation(
            x=distances[kept], y=1, yref="paper", text="kept", showarrow=False, xanchor="left", yanchor="top", font={"color": GREY}
        )
    figure = _plain(figure)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0})
    figure.update_layout(margin={"t": 36})
    figure.update_xaxes(title="√KL from the base, in nats per reply", rangemode="tozero")
    figure.update_yaxes(title="gain, in deviations", nticks=6)
    return figure


def progress(steps: Sequence[Mapping[str, Any]], metric: str, name: str, colour: str) -> go.Figure:
    """One metric of a run over its steps."""
    shown = [step for step in steps if metric in step["metrics"]]
    figure = go.Figure()
    figure.add_scatter(
        x=[step["step"] for step in shown],
        y=[step["metrics"][metric] for step in shown],
        mode="lines",
        line={"color": colour, "width": 2},
        name=name,
        hovertemplate="%{y:.3g}",
    )
    figure = _plain(figure)
    figure.update_yaxes(nticks=4)
    figure.update_xaxes(title="step")
    return figure


class Estimate(NamedTuple):
    """A figure of one version with its interval; ``about`` is shown beside it."""

    version: str
    figure: float
    low: float
    high: float
    about: str


def estimates(rows: Sequence[Estimate], within: float | None) -> go.Figure:
    """Estimates over versions, oldest first, with their intervals, a line at zero and dashed limits at ± ``within``."""
    figure = go.Figure()
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    for limit in (within, -within) if within is not None else ():
        figure.add_hline(y=limit, line={"color": ORANGE, "width": 1.5, "dash": "dash"})
    shown = [row for row in rows if math.isfinite(row.figure)]
    figure.add_scatter(
        x=[row.version for row in shown],
        y=[row.figure for row in shown],
        mode="lines+markers",
        line={"color": BLUE, "width": 1.5},
        marker={"color": BLUE, "size": 7},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [row.high - row.figure if math.isfinite(row.high) else 0 for row in shown],
            "arrayminus": [row.figure - row.low if math.isfinite(row.low) else 0 for row in shown],
            "color": BLUE,
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[[row.about, row.low, row.high] for row in shown],
        hovertemplate="%{y:.3g} (%{customdata[1]:.3g} to %{customdata[2]:.3g})<br>%{customdata[0]}<extra></extra>",
    )
    figure = _plain(figure)
    names = [row.version for row in shown]
    figure.update_xaxes(type="category", tickvals=names, ticktext=[name[:6] for name in names], tickangle=0, showticklabels=len(shown) <= 6)
    figure.update_yaxes(nticks=5)
    return figure
