"""What speaks for and against a version: its gates with figure, interval and n, and replies beside the champion's."""

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboard.pages import words
from dashboard.pages.shell import table
from storage.events import GateResult
from trainers.audits.table import by_name, read_findings
from trainers.runs.report import PairedReply, Report

SPEAKERS = {"system": "Told", "user": "Candidate", "assistant": "Chatbot"}
VERDICTS = {"passed": "Passed", "failed": "Failed", "insufficient": "Too little evidence"}


def gates(results: Sequence[GateResult]) -> Any:
    """The gates as a table; on a phone each is a card of its own."""
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
    labels: Any = {"data-label": "Figure"}, {"data-label": "Interval"}, {"data-label": "n"}  # shown on a phone, where the head is hidden
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
    """The report's replies side by side, the worst first, and what else it says."""
    worst = [each for each in report.replies if each.chosen_as == "worst"]
    others = [each for each in report.replies if each.chosen_as != "worst"]
    return [
        *([_group(f"The {_number(len(worst))} worst replies", "Where the champion’s reply is ahead by most.", worst)] if worst else []),
        *(
            [_group(f"{_number(len(others)).capitalize()} more, drawn at random", "What to expect on an ordinary day.", others)]
            if others
            else []
        ),
        _beside(report),
    ]


def _group(title: str, hint: str, pairs: Sequence[PairedReply]) -> Any:
    return html.Section([html.H2(title), html.P(hint, className="hint"), *[_pair(each) for each in pairs]], className="card")


def _pair(pair: PairedReply) -> Any:
    asked = next((message.content for message in reversed(pair.prompt) if message.role == "user"), pair.prompt[-1].content)
    whole = html.Details(
        [
            html.Summary("Whole conversation"),
            *[
                html.P([html.Strong({"system": "Told", "user": "Candidate", "assistant": "Chatbot"}[m.role] + ": "), m.content])
                for m in pair.prompt
            ],
        ],
        className="facts-block",
    )
    ahead = "Champion" if pair.reward_difference < 0 else "Challenger"
    lead = f"{ahead} ahead by {abs(pair.reward_difference):.2f}" if pair.reward_difference else "Level"
    return html.Div(
        [
            html.Div(
                [html.Span(["“", asked, "”"], className="asked"), html.Span(lead, className="hint number")],
                className="pairing-head",
            ),
            html.Div([_side("Challenger", pair.challenger), _side("Champion", pair.champion)], className="pairing-sides"),
            whole,
        ],
        className="pairing",
    )


def _side(name: str, text: str) -> Any:
    return html.Div([html.H3(name), html.P(text, className="pre")], className="pairing-side")


def _beside(report: Report) -> Any:
    """What stands beside the gates: how much there was to learn and judge from, and the figures that no gate holds."""
    data, audits = report.data, by_name()
    rows = [
        ("Judgments it learnt from", words.count(data.used if data.used is not None else data.training_judgments)),
        *([("Left out of training: their prompt judges it", words.count(data.overlap))] if data.overlap else []),
        (
            "Judgments it was judged by",
            f"{words.count(data.evaluation_judgments)}, by {words.plural(data.evaluation_recruiters, 'recruiter')}",
        ),
        *(row for name, finding in read_findings(report.findings).items() for row in audits[name].rows(finding)),
    ]
    return html.Section([html.H2("Beside the gates"), table(rows)], className="card")


def _number(n: int) -> str:
    return ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")[n] if n <= 10 else str(n)
