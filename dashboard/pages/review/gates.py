"""The gates of a version, grouped by what they ask: what did not pass is open, what passed is folded."""

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboard.pages import words
from dashboard.pages.shell import table
from storage.events import GateResult
from trainers.audits.audit import Topic
from trainers.audits.table import audits

VERDICTS = {"passed": "Passed", "failed": "Failed", "insufficient": "Too little evidence"}
TOPICS: dict[Topic, tuple[str, str]] = {
    "preference": ("Better?", "Do recruiters prefer it, and does their evidence reach its replies?"),
    "fairness": ("Fair?", "Are candidates treated alike, by recruiters, by the reward and by the model?"),
    "content": ("Safe and correct?", "Do its replies hold up against those of the base model?"),
}
FIRST = ("failed", "insufficient", "passed")


def gates(results: Sequence[GateResult]) -> Any:
    """Every gate under its topic, those that did not pass first."""
    groups = [(topic, [each for each in results if topic_of(each.name) == topic]) for topic in TOPICS]
    return html.Div([_group(topic, found) for topic, found in groups if found], className="gate-groups")


def topic_of(gate: str) -> Topic:
    """The topic of the gate's audit; a gate of another program counts as one about content."""
    audit = audits().get(gate)
    return audit.topic if audit is not None else "content"


def verdict_badge(verdict: str) -> Any:
    return html.Span(VERDICTS[verdict], className=f"badge badge-{verdict}")


def _group(topic: Topic, results: Sequence[GateResult]) -> Any:
    title, hint = TOPICS[topic]
    passed = sum(each.verdict == "passed" for each in results)
    head = [html.H3(title), html.Span(f"{passed} of {len(results)} passed", className="hint")]
    ordered = sorted(results, key=lambda each: FIRST.index(each.verdict))
    return html.Section(
        [html.Div(head, className="group-head"), html.P(hint, className="hint"), *map(_gate, ordered)], className="gate-group"
    )


def _gate(result: GateResult) -> Any:
    figure = words.figure(result.figure, result.unit)
    summary = html.Summary(
        [
            html.Span(words.isolated(words.gate(result.name)), className="gate-question"),
            html.Span(words.isolated(figure if result.figure is not None else ""), className="gate-figure"),
            verdict_badge(result.verdict),
        ]
    )
    rows = [
        ("Figure", words.isolated(figure)),
        ("Interval", words.interval(result)),
        ("n", words.count(result.n)),
        ("Limit", words.isolated(result.limit)),
    ]
    return html.Details(
        [summary, html.Div([html.P(words.isolated(result.words)), table(rows)], className="gate-body")],
        className=f"gate gate-{result.verdict}",
        open=result.verdict != "passed",
    )
