"""The evidence on a version: its gates with figure, interval and n, and its replies beside the champion's."""

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboard.pages import words
from dashboard.pages.shell import table
from storage.events import GateResult
from trainers.audits.table import audits, read_findings
from trainers.runs.report import PairedReply, Report

SPEAKERS = {"system": "Instructions", "user": "Candidate", "assistant": "Chatbot"}
VERDICTS = {"passed": "Passed", "failed": "Failed", "insufficient": "Too little evidence"}


def gates(results: Sequence[GateResult]) -> Any:
    """The gates as a table; on a phone, one card per gate."""
    head = html.Thead(
        html.Tr(
            [
                html.Th("Gate"),
                html.Th("Figure", className="number"),
                html.Th("Interval", className="number"),
                html.Th("n", className="number"),
                html.Th("Verdict"),
            ]
        )
    )
    return html.Table([head, html.Tbody([_gate(each) for each in results])], className="table gates")


def _gate(result: GateResult) -> Any:
    labels: Any = {"data-label": "Figure"}, {"data-label": "Interval"}, {"data-label": "n"}  # for phones, where the header is hidden
    return html.Tr(
        [
            html.Td(
                [
                    html.Strong(words.isolated(words.gate(result.name))),
                    html.Span(words.isolated(result.words), className="hint"),
                    html.Span(["Limit: ", words.isolated(result.limit)], className="hint limit"),
                ]
            ),
            html.Td(words.isolated(words.figure(result.figure, result.unit)), className="number strong", **labels[0]),
            html.Td(words.interval(result), className="number", **labels[1]),
            html.Td(words.count(result.n), className="number", **labels[2]),
            html.Td(html.Span(VERDICTS[result.verdict], className=f"badge badge-{result.verdict}")),
        ],
        className=f"gate gate-{result.verdict}",
    )


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


def _other_figures(report: Report) -> Any:
    """How much data the version was trained and evaluated on, and the figures without a gate."""
    data, by_gate = report.data, audits()
    rows = [
        ("Judgments it learnt from", words.count(data.used if data.used is not None else data.training_judgments)),
        *([("Left out of training: same prompt in evaluation", words.count(data.overlap))] if data.overlap else []),
        (
            "Judgments it was evaluated on",
            f"{words.count(data.evaluation_judgments)}, by {words.plural(data.evaluation_recruiters, 'recruiter')}",
        ),
        *(row for name, finding in read_findings(report.findings).items() for row in by_gate[name].rows(finding)),
    ]
    return html.Section([html.H2("Other figures"), table(rows)], className="card")


def _number(n: int) -> str:
    return ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")[n] if n <= 10 else str(n)
