"""Draws a simulation of the gates as one HTML file that needs no network: plotly's program is inside."""

from typing import Any

from trainers.audits.simulation.report import KindResult, Point, Simulation

GREEN, RED, ORANGE, GRAY, BLUE, LIGHT = "#2b8a3e", "#c92a2a", "#e8890c", "#adb5bd", "#1864ab", "#dee2e6"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


def as_html(found: Simulation) -> str:
    """What becomes of each kind of challenger; and over the true win rate, the chance of a promotion and the judgments that it needs."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=3,
        cols=1,
        row_heights=[0.36, 0.34, 0.30],
        vertical_spacing=0.1,
        subplot_titles=(
            "What becomes of each kind of challenger",
            "Chance of a promotion, over the true win rate",
            "Judgments until a duel is won, over the true win rate",
        ),
    )
    _fates(figure, found)
    _chances(figure, found)
    _judgments(figure, found)
    rule, gate = found.limits.duel, found.limits.win_rate
    title = (
        "<b>The gates and the duel with these limits</b>"
        f"<br><sup>win rate at least {gate.least:g}, its interval above {gate.above:g} · duel: alpha {rule.alpha:g}, least {rule.least:g}, "
        f"harm margin {rule.harm_margin:g}, {rule.min_judgments} to {rule.budget} judgments</sup>"
        f"<br><sup>{found.runs} challengers and {found.kinds[0].duel.won.n} duels of each kind, seed {found.seed}; "
        "error bars and the band of the second picture are 95% intervals</sup>"
    )
    figure.update_layout(
        title={"text": title, "x": 0.02}, barmode="stack", template="plotly_white", height=1250, width=1100,
        font={"family": FONT, "size": 14}, margin={"l": 290, "r": 40, "t": 150, "b": 60}, hovermode="closest",
    )  # fmt: skip
    html: str = figure.to_html(full_html=True, include_plotlyjs=True, config={"displaylogo": False, "plotlyServerURL": ""})
    return html.replace("<head>", '<head><meta name="viewport" content="width=device-width"><title>Gates and duel, simulated</title>', 1)


def _fates(figure: Any, found: Simulation) -> None:
    """A stacked bar for each kind: the shares of all challengers of the kind."""
    from plotly import graph_objects as go

    kinds = found.kinds[::-1]
    names = [f"{kind.words} ({kind.win_rate:.2f})" if kind.group_win_rate == kind.win_rate else _biased(kind) for kind in kinds]
    parts: list[tuple[str, str, list[float]]] = [
        ("promoted", GREEN, [kind.promoted.figure for kind in kinds]),
        ("stopped for harm", RED, [kind.harm.figure for kind in kinds]),
        ("futile or expired in the duel", ORANGE, [kind.futile.figure + kind.undecided.figure for kind in kinds]),
        ("not admitted by the gates", LIGHT, [1 - kind.admitted.figure for kind in kinds]),
    ]
    for name, color, values in parts:
        text = [f"{value:.0%}" if value >= 0.05 else "" for value in values]
        bar = go.Bar(
            y=names, x=values, name=name, orientation="h", marker={"color": color}, text=text, textposition="inside",
            insidetextanchor="middle", hovertemplate="%{y}: %{x:.1%} " + name + "<extra></extra>", legend="legend",
        )  # fmt: skip
        figure.add_trace(bar, row=1, col=1)
    figure.update_xaxes(range=[0, 1], tickformat=".0%", row=1, col=1)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 0.695, "yanchor": "top", "traceorder": "normal"})


def _biased(kind: KindResult) -> str:
    return f"{kind.words} ({kind.win_rate:.2f}, there {kind.group_win_rate:.2f})"


def _chances(figure: Any, found: Simulation) -> None:
    """Lines of the duel, points of the gates and of both."""
    from plotly import graph_objects as go

    rates = [point.win_rate for point in found.curve]
    won = [point.duel.won for point in found.curve]
    figure.add_trace(_band(rates, [each.low for each in won], [each.high for each in won], "rgba(24,100,171,.15)"), row=2, col=1)
    figure.add_trace(
        go.Scatter(
            x=rates, y=[each.figure for each in won], name="wins a duel", mode="lines+markers", line={"color": BLUE}, legend="legend2",
        ),
        row=2, col=1,
    )  # fmt: skip
    plain = sorted((kind for kind in found.kinds if kind.is_plain), key=_rate)
    for name, color, symbol, aside, intervals in (
        ("is admitted by the gates", ORANGE, "square", -0.002, [kind.admitted for kind in plain]),
        ("is promoted: both", GREEN, "diamond", 0.002, [kind.promoted for kind in plain]),
    ):
        figure.add_trace(
            go.Scatter(
                x=[kind.win_rate + aside for kind in plain], y=[each.figure for each in intervals], name=name, legend="legend2",
                mode="markers", marker={"color": color, "size": 11, "symbol": symbol}, text=[kind.words for kind in plain],
                error_y={
                    "type": "data", "symmetric": False, "array": [each.high - each.figure for each in intervals],
                    "arrayminus": [each.figure - each.low for each in intervals], "color": color, "thickness": 1.5,
                },
            ),
            row=2, col=1,
        )  # fmt: skip
    figure.add_vline(x=0.5, line={"color": GRAY, "dash": "dot"}, annotation_text="no better", annotation_position="top left", row=2, col=1)
    figure.add_vline(
        x=found.limits.duel.least,
        line={"color": GRAY, "dash": "dot"},
        annotation_text="worth a promotion",
        annotation_position="top right",
        row=2,
        col=1,
    )
    figure.update_yaxes(range=[-0.02, 1.05], tickformat=".0%", row=2, col=1)
    figure.update_xaxes(range=[0.38, 0.82], tickformat=".2f", row=2, col=1)
    figure.update_layout(legend2={"x": 0.99, "y": 0.40, "xanchor": "right", "yanchor": "bottom"})


def _judgments(figure: Any, found: Simulation) -> None:
    """The median of won duels with its quartiles, beside a test of fixed size."""
    from plotly import graph_objects as go

    points = [point for point in found.curve if point.win_rate > 0.5 and point.duel.judgments and point.duel.quartiles]
    rates = [point.win_rate for point in points]
    quartiles = [point.duel.quartiles or (0.0, 0.0) for point in points]
    figure.add_trace(_band(rates, [low for low, _ in quartiles], [high for _, high in quartiles], "rgba(24,100,171,.15)"), row=3, col=1)
    for name, dash, color, values in (
        (
            "median of won duels; band: quartiles",
            "solid",
            BLUE,
            [point.duel.judgments.figure if point.duel.judgments else None for point in points],
        ),
        ("a test of fixed size, power .8", "dash", GRAY, [point.duel.fixed_n for point in points]),
    ):
        trace = go.Scatter(x=rates, y=values, name=name, mode="lines+markers", line={"color": color, "dash": dash}, legend="legend3")
        figure.add_trace(trace, row=3, col=1)
    figure.update_yaxes(type="log", title="judgments", dtick=1, minor={"dtick": "D1"}, row=3, col=1)
    figure.update_xaxes(range=[0.38, 0.82], tickformat=".2f", title="true win rate: mean over the panel's recruiters", row=3, col=1)
    figure.update_layout(legend3={"x": 0.99, "y": 0.24, "xanchor": "right", "yanchor": "top"})


def _band(x: list[float], low: list[float], high: list[float], color: str) -> Any:
    from plotly import graph_objects as go

    return go.Scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        mode="lines",
        fill="toself",
        fillcolor=color,
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )


def _median(point: Point) -> float | None:
    return point.duel.judgments.figure if point.duel.judgments else None


def _rate(kind: KindResult) -> float:
    return kind.win_rate
