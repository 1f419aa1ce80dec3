"""What the report shows beyond the gates: replies beside the champion's, and the other figures of every audit."""

from collections.abc import Sequence
from typing import Any

from dash import dcc, html

from dashboard.pages import charts, words
from dashboard.pages.shell import table
from dashboard.status.reports import findings_of
from trainers.audits.table import audits
from trainers.runs.report import PairedReply, Report

SPEAKERS = {"system": "Instructions", "user": "Candidate", "assistant": "Chatbot"}


def replies(report: Report) -> Any:
    """The report's replies side by side, the worst first, and its other figures."""
    worst = [each for each in report.replies if each.chosen_as == "worst"]
    others = [each for each in report.replies if each.chosen_as != "worst"]
    return [
        *([_group(f"The {_number(len(worst))} worst replies", "Where the champion’s reply is ahead by most.", worst)] if worst else []),
        *(
            [_group(f"{_number(len(others)).capitalize()} more, drawn at random", "What to expect on an ordinary day.", others)]
            if others
            else []
        ),
        *_training(report),
        _other_figures(report),
    ]


def _group(title: str, hint: str, pairs: Sequence[PairedReply]) -> Any:
    return html.Section([html.H2(title), html.P(hint, className="hint"), *[_pair(each) for each in pairs]], className="card")


def _pair(pair: PairedReply) -> Any:
    asked = next((message.content for message in reversed(pair.prompt) if message.role == "user"), pair.prompt[-1].content)
    transcript = html.Details(
        [
            html.Summary("Whole conversation"),
            *[html.P([html.Strong(SPEAKERS[message.role] + ": "), message.content]) for message in pair.prompt],
        ],
        className="facts-block",
    )
    winner = "Champion" if pair.reward_difference < 0 else "Challenger"
    lead = f"{winner} ahead by {abs(pair.reward_difference):.2f}" if pair.reward_difference else "Level"
    return html.Div(
        [
            html.Div(
                [html.Span(["“", asked, "”"], className="asked"), html.Span(lead, className="hint number")],
                className="pairing-head",
            ),
            html.Div([_side("Challenger", pair.challenger), _side("Champion", pair.champion)], className="pairing-sides"),
            transcript,
        ],
        className="pairing",
    )


def _side(name: str, text: str) -> Any:
    return html.Div([html.H3(name), html.P(text, className="pre")], className="pairing-side")


def _training(report: Report) -> list[Any]:
    """How far the training moved from the base and what it gained, if a governor measured it."""
    found = report.training
    if found is None or len(found.curve) < 2:
        return []
    kept = next((point for point in found.curve if point.kept), found.curve[-1])
    end = f"Stopped early: {found.stopped}." if found.stopped is not None else "It ran to its end."
    graph = dcc.Graph(
        figure=charts.overoptimisation(found.curve), config=charts.CONFIG, responsive=True, className="chart", style={"height": 300}
    )
    last = [
        ("Policy that was kept", f"after step {kept.step}"),
        ("KL from the base", f"{kept.kl:.2f} nats per reply"),
        ("Length of a reply", f"{kept.length:.0f} tokens"),
        *([("Replies with a wrong fact", f"{100 * kept.wrong_facts:.1f}%")] if kept.wrong_facts is not None else []),
    ]
    hint = (
        "The training raised the first reward. The second has other features and other recruiters’ judgments, and nothing optimised it: "
        "where it falls, the first is being gamed."
    )
    return [
        html.Section([html.H2("Was the reward gamed?"), html.P(hint, className="hint"), graph, html.P(end), table(last)], className="card")
    ]


def _other_figures(report: Report) -> Any:
    """How much data the version was trained and evaluated on, and, folded, the figures of each audit that have no gate."""
    data, by_gate = report.data, audits()
    rows = [
        ("Judgments it learnt from", words.count(data.used if data.used is not None else data.training_judgments)),
        *([("Left out of training: same prompt in evaluation", words.count(data.overlap))] if data.overlap else []),
        (
            "Judgments it was evaluated on",
            f"{words.count(data.evaluation_judgments)}, by {words.plural(data.evaluation_recruiters, 'recruiter')}",
        ),
    ]
    if report.lineage.versions:
        rows.append(("Trained with", ", ".join(f"{name} {number}" for name, number in report.lineage.versions.items())))
    folded = [
        html.Details([html.Summary(words.gate(name)), table(found)], className="facts-block")
        for name, finding in findings_of(report).items()
        if (found := by_gate[name].rows(finding))
    ]
    return html.Section([html.H2("Other figures"), table(rows), *folded], className="card")


def _number(n: int) -> str:
    return ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")[n] if n <= 10 else str(n)
