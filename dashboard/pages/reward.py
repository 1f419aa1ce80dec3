"""Reward: how well the reward model predicts recruiters, whom it understands, and what it may be used for."""

from collections.abc import Mapping, Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from pydantic import validate_call

from dashboard.pages import charts, words
from dashboard.pages.markup import aria, at
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading, status_of, table
from dashboard.status.models import Versions, VersionShown
from dashboard.status.reward import RewardReading
from dashboard.status.serving_version import Ranker
from storage.events import GateResult
from trainers.reward.head_report import QuestionReport, RecruiterLine
from trainers.reward.labels_saved import LEAST_HELD_OUT, LEAST_UNIFORM, LabelsSaved
from trainers.reward.online.settings import OVERALL

LEAD = "What the reward model has learnt from recruiters, how far it can be trusted, and what it is used for."
CHECKS = ("name_contrast",)
TONES = {"follows the others": "passed", "looks random": "failed", "opposite to the others": "failed", "own taste": "insufficient"}


def layout(_rest: str) -> Any:
    return [
        heading("Reward", LEAD),
        html.Div(
            [
                html.Section([html.H2("Learning"), html.Div(id="reward-curve")], className="card"),
                dcc.Loading(html.Div(id="reward-report", className="stack"), delay_show=400),
                dcc.Loading(html.Div(id="reward-labels"), delay_show=400),
                html.Div(id="reward-checks", className="stack"),
                dcc.Store(id="reward-shown"),
            ],
            className="stack",
        ),
    ]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(Output("reward-curve", "children"), Input("live-curve", "data"))
    @validate_call
    def curve(points: Sequence[Mapping[str, Any]] | None) -> Any:
        if not points:
            text = ["Rate a pair on the page ", dcc.Link("Rate", href=at("/rate")), " and the curve starts."]
            return empty("No judgment learnt yet", text, "reward")
        return dcc.Graph(figure=charts.accuracy(points), config=charts.CONFIG, responsive=True, className="chart", style={"height": 300})

    @app.callback(
        Output("reward-report", "children"), Output("reward-shown", "data"), Input("live-status", "data"), State("reward-shown", "data")
    )
    @validate_call
    def report(data: Mapping[str, Any] | None, shown: str | None) -> Any:
        status = status_of(data)
        if status is None or status.reward is None:
            return no_update, no_update
        reading = parts.reward.take()
        if reading is None:
            text = "The processor's checkpoint has not reached this machine. On Kafka it comes every thousand preferences."
            return empty("The report follows", text, "reward"), no_update
        key = f"{reading.head.head_id}-{reading.head.sequence}"
        if key == shown:
            return no_update, no_update
        return [_trust(reading), _recruiters(reading), _objectives(reading)], key

    @app.callback(Output("reward-labels", "children"), Input("reward-shown", "data"))
    @validate_call
    def labels(shown: str | None) -> Any:
        if shown is None or (saved := parts.reward.labels_saved()) is None:
            return no_update
        return _saved(saved)

    @app.callback(Output("reward-checks", "children"), Input("live-versions", "data"))
    @validate_call
    def checks(data: Mapping[str, Any] | None) -> Any:
        if not data:
            return no_update
        return _checks(Versions.model_validate(data).versions, parts.ranker())


def _trust(reading: RewardReading) -> Any:
    """Calibration of the overall answer, and its figures."""
    overall = _question(reading, OVERALL)
    rows = [
        ("Judgments learnt", words.count(overall.judgments)),
        ("Predicted right before learning them", f"{words.percent(overall.accuracy, 1)} of {words.count(overall.decisive)}"),
        ("Log loss (a coin has 0.693)", "–" if overall.log_loss is None else f"{overall.log_loss:.3f}"),
        ("Strengths begin at, in log-odds", ", ".join(f"{cut:.2f}" for cut in overall.cut_points)),
        ("Reconciled through preference", words.count(reading.head.reconciled_at) if reading.head.reconciled_at else "not yet"),
    ]
    figure = charts.calibration([(each.predicted, each.right, each.low, each.high, each.answers) for each in overall.calibration])
    said = f"Calibration over {words.plural(overall.decisive, 'decisive judgment')}"
    graph = dcc.Graph(figure=figure, config=charts.CONFIG, responsive=True, className="chart", style={"height": 300})
    hint = (
        "Each answer was predicted before it was learnt. A point on the line means that of the replies given 70%, 70% were chosen; "
        "bars are 95% intervals."
    )
    return html.Section(
        [
            html.H2("How far its probabilities can be trusted"),
            html.P(hint, className="hint"),
            html.Div(graph, role="img", **aria(label=said))
            if overall.calibration
            else html.P("No decisive judgment yet.", className="hint"),
            table(rows),
        ],
        className="card",
        id="reward-trust",
    )


def _recruiters(reading: RewardReading) -> Any:
    overall = _question(reading, OVERALL)
    if overall.alpha is not None:
        agreed = f"Krippendorff's alpha {overall.alpha:.2f} (1 is perfect, 0 is chance)"
    else:
        agreed = "Krippendorff's alpha needs 50 repeated judgments"
    same = "" if overall.same_choice is None else f"; {words.percent(overall.same_choice)} of repeated judgments chose the same side"
    legend = (
        "Random: the fitted share of random answers. Pull: log-odds for the reply shown first. Scale: how strongly answers follow the "
        "replies. Agrees: the same side as others on the same pair. Predicted: the share predicted right, in the first half and in the "
        "second."
    )
    fitted = reading.head.reconciled_at > 0
    if not fitted:
        legend = f"Random, pull and scale are not fitted yet. {legend}"
    hint = (
        f"{agreed}{same}; {words.plural(overall.repeats, 'repeat')}. Nobody is left out for answers that differ: a taste of one's own is "
        "kept apart from clicking at random, and random answers weigh less."
    )
    columns = ("Judgments", "Random", "Pull of first", "Scale", "Agrees", "Predicted, then → now")
    head = html.Tr([html.Th("Recruiter", scope="col"), *(html.Th(each, className="number", scope="col") for each in columns), html.Th("")])
    lines = [_recruiter(each, fitted) for each in sorted(overall.recruiters, key=lambda each: -each.judgments)]
    listed = html.Div(html.Table([html.Thead(head), html.Tbody(lines)], className="table"), className="scroll")
    parts = [html.H2("Recruiters"), html.P(hint, className="hint"), listed, html.P(legend, className="hint")]
    return html.Section(parts, className="card", id="reward-recruiters")


def _recruiter(line: RecruiterLine, fitted: bool) -> Any:
    """A row of the table; what only a reconciliation fits is left open before the first."""
    agrees = "–" if line.agrees is None else f"{words.percent(line.agrees)} of {words.count(line.compared)}"
    drift = "–" if line.earlier is None or line.later is None else f"{words.percent(line.earlier)} → {words.percent(line.later)}"
    tone = TONES.get(line.kind, "quiet")
    cells = (
        words.count(line.judgments),
        *((words.percent(line.lapse), f"{line.pull:+.2f}".replace("-", "\u2212"), f"{line.scale:.2f}") if fitted else ("–",) * 3),
        agrees,
        drift,
    )
    return html.Tr(
        [
            html.Th(words.isolated(line.name), scope="row", className="mono"),
            *(html.Td(each, className="number") for each in cells),
            html.Td(html.Span(line.kind, className=f"badge badge-{tone}")),
        ]
    )


def _objectives(reading: RewardReading) -> Any:
    hint = "What a reward for training or ranking is made of: each objective counts with its weight, in units of its own spread."
    rows: list[tuple[str, Any]] = [
        (
            words.outcome(each.objective).capitalize(),
            f"weight {each.weight:g}; {words.plural(each.judgments, 'judgment')}"
            + ("" if each.spread is None else f"; spread {each.spread:.2f} log-odds"),
        )
        for each in reading.objectives
    ]
    if reading.floored:
        rows.append(("Floor", f"a reply that may be much worse in “{reading.floored}” is refused at any weights"))
    note = [] if reading.not_mixed is None else [html.P(f"Not mixed: {reading.not_mixed}", className="problem-line")]
    return html.Section(
        [html.H2("Objectives"), html.P(hint, className="hint"), table(rows), *note], className="card", id="reward-objectives"
    )


def _saved(labels: LabelsSaved) -> Any:
    counts = f"{words.plural(labels.informative, 'judgment')} of informative pairs, {words.count(labels.uniform)} of uniform ones"
    if labels.ratio is not None:
        high = "" if labels.high is None else f" to {labels.high:.2f}"
        bound = f"{labels.low:.2f}{high}" if labels.high is not None else f"{labels.low:.2f} or more"
        text = f"{labels.ratio:.2f} informative judgments teach as much as one uniform judgment (95% interval {bound})."
    elif labels.at_least is not None:
        text = (
            f"Asking for informative pairs saves nothing here: more than {labels.at_least:.2f} of them are needed for one uniform judgment."
        )
    else:
        text = (
            f"Not known yet: it takes {LEAST_UNIFORM} judgments of each kind and {LEAST_HELD_OUT} decisive ones of the evaluation stratum; "
            f"there are {words.count(labels.held_out)}."
        )
    hint = f"{counts}. Compared by the log loss on pairs that neither has learnt from."
    return html.Section([html.H2("Judgments saved"), html.P(text), html.P(hint, className="hint")], className="card", id="reward-saved")


def _checks(versions: Sequence[VersionShown], ranker: Ranker | None) -> Any:
    """The gates of the newest version that look at the reward, and what ranks today."""
    title = html.H2("May it rank or train?")
    if not versions:
        text = "Whether it scores replies alike under every name is checked in the first training run."
        return [html.Section([title, html.P(text, className="hint"), _ranking(ranker)], className="card", id="reward-may")]
    newest = versions[0]
    found = [gate for gate in newest.gates if gate.name in CHECKS]
    link = dcc.Link(words.isolated(newest.version), href=at(f"/promotions/{newest.version}"), className="mono")
    hint: list[Any] = ["From the run of ", link, "."]
    return [
        html.Section(
            [title, html.P(hint, className="hint"), *(_check(gate) for gate in found), _ranking(ranker)], className="card", id="reward-may"
        )
    ]


def _ranking(ranker: Ranker | None) -> Any:
    """Which reward model serving ranks by."""
    if ranker is None:
        return html.P("Serving does not say what it ranks by.", className="hint")
    if ranker.status == "ready":
        chat = f"; the best of {ranker.best_of} replies is sent" if ranker.best_of > 1 else ""
        return html.P(
            ["Serving ranks by a model of the kind ", html.Strong(ranker.kind or "unknown"), f", whose checks have passed{chat}."]
        )
    reason = "its reward model is being loaded" if ranker.status == "loading" else ranker.reason or "no reason is given"
    return html.P(["Serving ranks nothing: ", words.isolated(reason)])


def _check(gate: GateResult) -> Any:
    badge = html.Span(gate.verdict.capitalize(), className=f"badge badge-{gate.verdict}")
    return html.Div([html.H3([words.gate(gate.name), " ", badge]), html.P([words.isolated(gate.words)])])


def _question(reading: RewardReading, name: str) -> QuestionReport:
    return next(each for each in reading.head.questions if each.question == name)


PAGE = Page("/reward", "Reward", "reward", layout, register)
