"""Training runs, newest first: progress, loss and margin over the steps, and the reason of a failure."""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import Dash, Input, Output, dcc, html
from pydantic import validate_call

from dashboard.pages import charts, words
from dashboard.pages.markup import aria, at
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading
from dashboard.pages.training_replies import training_replies
from dashboard.status.models import Run

STATES = {
    "requested": "Waits for its data",
    "overtaken": "Overtaken by a newer request",
    "frozen": "Waits for a trainer",
    "training": "Running",
    "evaluated": "Finished",
    "failed": "Failed",
}
METRICS = (
    ("loss", "Loss", charts.BLUE),
    ("reward_margin", "Reward margin", charts.ORANGE),
    ("reward", "Reward", charts.BLUE),
    ("kl", "KL per reply", charts.ORANGE),
)
START = "start"  # what the trainer says before the first stage
STAGES = ("check", "train", "sample", "evaluate", "gates")


def layout(_rest: str) -> Any:
    return [
        heading("Runs", "Each run trains one challenger from the base model and compares it with the champion."),
        html.Div(id="runs", className="stack"),
    ]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(Output("runs", "children"), Input("live-runs", "data"))
    @validate_call
    def draw(data: Sequence[Mapping[str, Any]] | None) -> Any:
        runs = [Run.model_validate(each) for each in data or ()]
        if not runs:
            return empty(
                "No run yet",
                [
                    "A run starts by itself when enough judgments have been learnt. The ",
                    dcc.Link("overview", href=at("/")),
                    " shows how many are missing.",
                ],
                "runs",
            )
        return [card(run, newest=position == 0, replies=_replies(run) if position < 3 else None) for position, run in enumerate(runs)]

    def _replies(run: Run) -> Any:
        return training_replies(parts.replies_of(run.artifacts["replies"])) if "replies" in run.artifacts else None


def card(run: Run, *, newest: bool, replies: Any = None) -> Any:
    why = {
        "count": f"requested at the {ordinal(run.k)} threshold of judgments",
        "time": "requested for the time since the last run",
        "manual": "requested by a person",
    }[run.threshold]
    head = html.Header(
        [
            html.Div(
                [
                    html.H2([f"{run.method.upper()} ", html.Span(run.run_id[-8:], className="mono")]),
                    html.P(
                        f"{why} · data up to preference {words.count(run.through_sequence)} · {', '.join(run.sources)}", className="hint"
                    ),
                ]
            ),
            html.Div(
                [
                    state(run),
                    html.Span(("last update " if run.state == "training" else "") + words.clock(run.updated_at), className="hint"),
                ],
                className="card-state",
            ),
        ],
        className="card-head",
    )
    body: list[Any] = [head, track(run)]
    if run.waiting:
        body.append(html.P(f"{run.waiting[0].upper()}{run.waiting[1:]}. The run starts by itself when there is enough.", className="hint"))
    if run.state == "failed":
        body.append(
            html.P(
                [
                    html.Span(className="icon icon-warning"),
                    html.Span(
                        [
                            html.Strong([words.isolated(words.stage(run.stage)), ": "]),
                            words.isolated(run.reason or "no reason was given"),
                        ]
                    ),
                ],
                className="problem-line",
            )
        )
    if "data_docs" in run.artifacts:
        docs = html.A("data checks", href=at(f"/v1/runs/{run.run_id}/data-docs/index.html"))
        body.append(html.P(["See the ", docs], className="run-version"))
    if run.metrics:
        body.append(html.Div([metric(name, value) for name, value in run.metrics.items()], className="metrics"))
    if newest and run.history:
        body.append(curves(run))
    if replies is not None:
        body.append(replies)
    if run.version:
        body.append(
            html.P(
                ["Made ", words.isolated(run.version), " — ", dcc.Link("see its gates", href=at(f"/promotions/{run.version}"))],
                className="run-version",
            )
        )
    return html.Article(body, className="card run", id=f"run-{run.run_id}")


def ordinal(k: int) -> str:
    return f"{k}{'th' if k % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(k % 10, 'th')}"


def state(run: Run) -> Any:
    kind = {"training": "busy", "failed": "failed", "evaluated": run.verdict or "quiet"}.get(run.state, "quiet")
    text = {
        "passed": "Finished · gates passed",
        "failed": "Finished · a gate failed",
        "insufficient": "Finished · too little evidence",
    }.get(run.verdict or "", STATES[run.state])
    return html.Span(text, className=f"badge badge-{kind}")


def track(run: Run) -> Any:
    """The stages as a row, with the progress of the running one."""
    seen = [step.stage for step in run.history]
    names = [*STAGES, *dict.fromkeys(name for name in [*seen, run.stage or ""] if name not in ("", START, *STAGES))]
    at = names.index(run.stage) if run.stage in names else -1
    cells = []
    for position, name in enumerate(names):
        if run.state == "evaluated" or position < at:
            done, kind = 100.0, "done"
        elif position == at:
            done, kind = 100 * run.step / run.steps if run.steps else 0.0, "failed" if run.state == "failed" else "now"
        else:
            done, kind = 0.0, "ahead"
        note = f"{run.step} of {run.steps}" if kind == "now" and run.steps else ""
        cells.append(
            html.Li(
                [
                    html.Span(words.isolated(words.stage(name)), className="stage-name"),
                    html.Div(html.Div(className="bar-fill", style={"width": f"{done:.0f}%"}), className="bar"),
                    html.Span(note, className="stage-note"),
                ],
                className=f"stage {kind}",
                **(aria(current="step") if kind == "now" else {}),
            )
        )
    return html.Ol(cells, className="stages", **aria(label="Stages"))


def metric(name: str, value: float) -> Any:
    return html.Div(
        [html.Span(words.isolated(name.replace("_", " ")), className="metric-name"), html.Span(f"{value:.3g}", className="metric-value")],
        className="metric",
    )


def curves(run: Run) -> Any:
    """Loss and margin over the steps, if the trainer has reported at least two."""
    steps = [step.model_dump(mode="json") for step in run.history]
    shown = [
        html.Div(
            [
                html.H3(name),
                dcc.Graph(
                    figure=charts.progress(steps, key, name, colour),
                    config=charts.CONFIG,
                    responsive=True,
                    className="chart",
                    style={"height": 170},
                ),
            ]
        )
        for key, name, colour in METRICS
        if sum(key in step["metrics"] for step in steps) >= 2
    ]
    return html.Div(shown, className="curves")


PAGE = Page("/runs", "Runs", "runs", layout, register)
