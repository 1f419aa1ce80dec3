"""What speaks for and against a version: its gates with figure, interval and n, and replies beside the champion's."""

from collections.abc import Sequence
from typing import Any

import orjson
from dash import html

from dashboard.pages import words
from storage.artifacts import Artifacts
from storage.events import GateResult

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
                    html.Strong(words.gate(result.name)),
                    html.Span(result.words, className="hint"),
                    html.Span(f"Limit: {result.limit}", className="hint limit"),
                ]
            ),
            html.Td(words.figure(result.figure, result.unit), className="number strong", **labels[0]),
            html.Td(words.interval(result), className="number", **labels[1]),
            html.Td(words.count(result.n), className="number", **labels[2]),
            html.Td(html.Span(VERDICTS[result.verdict], className=f"badge badge-{result.verdict}")),
        ],
        className=f"gate gate-{result.verdict}",
    )


def read_report(artifacts: Artifacts, sha: str) -> dict:
    return orjson.loads(artifacts.read(sha))


def replies(report: object) -> object:
    return None
