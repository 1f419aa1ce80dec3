"""The loop at a glance: counts at each station, the backlog, progress to the next training run, and the champion."""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import Dash, Input, Output, dcc, html
from pydantic import validate_call

from dashboard.pages import charts, words
from dashboard.pages.interventions import interventions
from dashboard.pages.markup import aria, at
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading, status_of, table
from dashboard.status.models import Run, Status

FLOWING = 15.0  # seconds after the newest judgment during which the loop is drawn in motion


def layout(_rest: str) -> Any:
    return [
        heading("Overview", html.Span("Waiting for the first reading …", id="overview-lead")),
        html.Section(id="overview-loop", **aria(label="The loop, station by station")),
        html.Div(
            [
                html.Section(
                    [
                        html.H2("How well the reward model predicts recruiters"),
                        html.P(
                            "Share of the latest decisive judgments predicted right before they were learnt.",
                            className="hint",
                        ),
                        html.Div(id="overview-curve"),
                    ],
                    className="card wide",
                ),
                html.Div(
                    [
                        html.Section(id="overview-champion", className="card"),
                        html.Section(id="overview-waiting", className="card"),
                        html.Section(id="overview-interventions", className="card"),
                    ],
                    className="stack",
                ),
            ],
            className="columns",
        ),
    ]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(
        Output("overview-lead", "children"),
        Output("overview-loop", "children"),
        Output("overview-champion", "children"),
        Output("overview-waiting", "children"),
        Output("overview-interventions", "children"),
        Input("live-status", "data"),
        Input("live-runs", "data"),
    )
    @validate_call
    def draw(data: Mapping[str, Any] | None, runs: Sequence[Mapping[str, Any]] | None) -> tuple[Any, ...]:
        status = status_of(data)
        if status is None:
            return "Waiting for the first reading …", None, None, None, None
        newest = Run.model_validate(runs[0]) if runs else None
        return lead(status), loop(status, newest), champion(status), waiting(status), interventions(status.interventions)

    @app.callback(Output("overview-curve", "children"), Input("live-curve", "data"))
    @validate_call
    def curve(points: Sequence[Mapping[str, Any]] | None) -> Any:
        if not points:
            return empty(
                "No judgment learnt yet",
                ["Rate a pair on the page ", dcc.Link("Rate", href=at("/rate")), " and the curve starts."],
                "reward",
            )
        return dcc.Graph(
            id="curve", figure=charts.accuracy(points), config=charts.CONFIG, responsive=True, className="chart", style={"height": 420}
        )


def lead(status: Status) -> Any:
    """The state of the loop in a sentence or two."""
    if status.health.problems:
        return html.Span([html.Span(className="icon icon-warning"), words.isolated(" ".join(status.health.problems))], className="problem")
    if not status.counts.replies and not status.counts.pairs:
        return [
            "No conversations yet. Point your product’s OpenAI client at the chat API, or run ",
            html.Code("feedbackloop demo"),
            " to watch simulated people.",
        ]
    left = status.threshold.every - status.threshold.since
    text = f"The reward model has learnt from {words.plural(status.counts.judgments_seen, 'judgment')}. "
    if status.awaiting_review:
        return [text, dcc.Link(f"{words.plural(len(status.awaiting_review), 'version')} waiting for a reviewer.", href=at("/promotions"))]
    return text + f"{words.plural(left, 'more starts', 'more start')} the next training run."


def loop(status: Status, run: Run | None) -> Any:
    """Eight stations on a closed track, with the next threshold inside."""
    counts, waits = status.counts, status.waiting
    behind = waits.judgments_without_pair + waits.judgments_without_features
    accuracy = status.reward.prequential_accuracy if status.reward else None
    stations = [
        station("Conversations", "chat", counts.replies, "replies sent", "/"),
        station("Pairs", "pair", counts.pairs, f"{words.count(waits.to_rate)} to rate", "/rate"),
        station("Judgments", "rate", counts.judgments, "by recruiters", "/rate"),
        station(
            "Preferences", "join", counts.preferences, f"{words.count(behind)} waiting to join" if behind else "joined and numbered", "/"
        ),
        station(
            "Reward model",
            "reward",
            counts.learnt,
            f"{words.percent(accuracy)} predicted right" if accuracy is not None else "preferences learnt",
            "/",
        ),
        station("Training", "runs", counts.runs, running(run), "/runs"),
        station(
            "Gates",
            "promotions",
            counts.evaluated,
            f"{len(status.awaiting_review)} for review" if status.awaiting_review else "challengers judged",
            "/promotions",
        ),
        station("Champion", "champion", status.champion.version, "serves candidates", "/promotions"),
    ]
    newest = status.newest.judgment
    flowing = newest is not None and (status.at - newest.occurred_at).total_seconds() < FLOWING
    track = html.Div(
        [html.Span(className="bead") for _ in range(4)], className="track" + (" flowing" if flowing else ""), **aria(hidden="true")
    )
    return html.Div([track, *stations, centre(status)], className="loop", role="list")


def station(name: str, icon: str, figure: int | str, note: str, href: str) -> Any:
    figure = words.count(figure) if isinstance(figure, int) else figure
    return html.Div(
        dcc.Link(
            [
                html.Span([html.Span(className=f"icon icon-{icon}"), name], className="station-name"),
                html.Span(words.isolated(figure), className="station-figure" + (" text" if not figure[:1].isdigit() else "")),
                html.Span(words.isolated(note), className="station-note"),
            ],
            href=at(href),
            className=f"station station-{icon}",
        ),
        role="listitem",
        className="station-cell",
    )


def running(run: Run | None) -> str:
    """What the newest run is doing."""
    if run is None:
        return "no run yet"
    if run.state == "training":
        return f"{words.stage(run.stage)}, {run.step} of {run.steps}" if run.steps else words.stage(run.stage)
    return {
        "requested": "waits for its data",
        "overtaken": "overtaken by a newer request",
        "frozen": "waits for a trainer",
        "evaluated": "last run finished",
        "failed": "last run failed",
    }[run.state]


def centre(status: Status) -> Any:
    since, every = status.threshold.since, status.threshold.every
    return html.Div(
        [
            html.Span("Next training run", className="centre-name"),
            html.Span(
                [html.Strong(words.count(since), id="threshold-since"), html.Span(f" of {words.count(every)}")],
                className="centre-figure",
                id="threshold",
            ),
            html.Div(
                html.Div(className="bar-fill", style={"width": f"{100 * since / every:.1f}%"}),
                className="bar",
                role="progressbar",
                **aria(valuenow=since, valuemin=0, valuemax=every, label="Judgments towards the next training run"),
            ),
            html.Span(f"judgments towards run {status.threshold.k + 1}", className="centre-note"),
        ],
        className="centre",
    )


def champion(status: Status) -> Any:
    held = status.champion
    base = held.version == "base"
    rows = [
        ("Champion since", words.clock(held.since) if held.since else "the start"),
        *([("Serving now", words.isolated(held.serving))] if held.serving else []),
        ("Before it", words.isolated(held.previous) if held.previous else "nothing"),
        (
            "Awaiting review",
            dcc.Link(words.isolated(", ".join(status.awaiting_review)), href=at(f"/promotions/{status.awaiting_review[0]}"))
            if status.awaiting_review
            else "none",
        ),
    ]
    note = (
        "The configured base model itself; no challenger has been approved yet."
        if base
        else "Trained here, passed every gate, approved by a reviewer."
    )
    other = held.serving not in (None, held.version)
    warning = html.P(
        [
            html.Span(className="icon icon-warning"),
            html.Span(
                [
                    "Candidates are answered by ",
                    words.isolated(held.serving or ""),
                    "; the champion is ",
                    words.isolated(held.version),
                    ". Serving’s log says why.",
                ]
            ),
        ],
        className="problem-line",
    )
    return [
        html.H2("Champion"),
        html.P(words.isolated(held.version), className="champion-name"),
        html.P(note, className="hint"),
        *([warning] if other else []),
        table(rows),
    ]


def waiting(status: Status) -> Any:
    waits = status.waiting
    rows = [
        ("Pairs to rate", dcc.Link(words.count(waits.to_rate), href=at("/rate")) if waits.to_rate else "0"),
        ("Judgments whose pair has not arrived", words.count(waits.judgments_without_pair)),
        ("Judgments whose pair is not embedded", words.count(waits.judgments_without_features)),
        ("Pairs not embedded", words.count(waits.pairs_without_features)),
        ("Events in quarantine", words.count(status.counts.quarantined)),
        ("Log entries not yet stored", words.count(sum(status.lag.values()))),
    ]
    if waits.oldest_seconds is not None:
        rows.append(("Longest wait of a judgment", f"{waits.oldest_seconds:.0f} s"))
    return [html.H2("Waiting"), table(rows)]


PAGE = Page("/", "Overview", "overview", layout, register)
