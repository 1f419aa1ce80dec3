"""What the audits of a report found that a person should see: improper sentences, each recruiter's win rate, replies to two candidates."""

from collections.abc import Iterable
from typing import Any

from dash import html

from dashboard.pages import words
from dashboard.status.reports import findings_of
from storage.events import Message
from trainers.audits.audit import Finding
from trainers.audits.content.shares import Shares
from trainers.audits.policy.comparisons import CounterfactualExample
from trainers.audits.policy.counterfactual import Counterfactuals
from trainers.audits.policy.win_rate import WinRate
from trainers.runs.report import Report

SHOWN = 5  # texts of an audit that are shown at once; the others are folded


def sections(report: Report) -> list[Any]:
    """The cards for this report, the ones with the most reason to be read first."""
    found = findings_of(report)
    cards = [_texts(found)]
    if isinstance(win_rate := found.get("win_rate"), WinRate) and win_rate.by_recruiter:
        cards.append(_panel(win_rate))
    if isinstance(counterfactual := found.get("counterfactual"), Counterfactuals) and counterfactual.examples:
        cards.append(_counterfactual(counterfactual))
    return [card for card in cards if card is not None]


def _texts(found: dict[str, Finding]) -> Any:
    """The sentences that content audits found in the challenger's replies."""
    texts = {name: finding.examples for name, finding in found.items() if isinstance(finding, Shares) and finding.examples}
    if not texts:
        return None
    parts: list[Any] = []
    for name, examples in sorted(texts.items(), key=lambda one: one[0] != "conduct"):
        parts += [html.H3(words.gate(name)), _quotes(examples[:SHOWN])]
        if examples[SHOWN:]:
            more = words.plural(len(examples) - SHOWN, "more text")
            parts.append(html.Details([html.Summary(more), _quotes(examples[SHOWN:])], className="facts-block"))
    hint = "What the audits found in its replies, with the reply. A passed gate may have some: read them before you decide."
    return html.Section([html.H2("Texts to read"), html.P(hint, className="hint"), *parts], className="card texts")


def _quotes(texts: Iterable[str]) -> Any:
    return html.Ul([html.Li(words.isolated(text), className="pre") for text in texts], className="quotes")


def _panel(found: WinRate) -> Any:
    """The win rate with each recruiter of the panel, so that a minority is seen."""
    rates = sorted(found.by_recruiter.items(), key=lambda one: one[1])
    against = sum(rate < 0.5 for _, rate in rates)
    hint = f"{_share_of(against, len(rates))} would choose the champion's replies more often. "
    hint += "Rates of recruiters with few judgments are pulled towards the others."
    head = html.Thead(html.Tr([html.Th("Recruiter"), html.Th("Win rate", className="number"), html.Th("", className="wide-cell")]))
    body = [
        html.Tr(
            [
                html.Td(words.isolated(name), className="mono"),
                html.Td(words.percent(rate), className="number strong"),
                html.Td(_meter(rate), className="wide-cell"),
            ]
        )
        for name, rate in rates
    ]
    rows = html.Div(html.Table([head, html.Tbody(body)], className="table panel"), className="scroll")
    shown = rows if len(rates) <= 2 * SHOWN else html.Details([html.Summary(f"All {len(rates)} recruiters"), rows], className="facts-block")
    return html.Section([html.H2("With each recruiter"), html.P(hint, className="hint"), shown], className="card")


def _meter(rate: float) -> Any:
    """A bar with a mark at one half; the figure stands beside it."""
    return html.Div(
        [html.Div(className="meter-fill", style={"width": f"{100 * rate:.0f}%"}), html.Div(className="meter-half")], className="meter"
    )


def _share_of(count: int, of: int) -> str:
    return "None" if not count else f"{count} of {of}"


def _counterfactual(found: Counterfactuals) -> Any:
    first = found.examples[0]
    hint = "The same question with one thing changed. These replies differ most in the largest difference found: "
    hint += f"{words.outcome(first.outcome)}."
    return html.Section(
        [html.H2("The same question from two candidates"), html.P(hint, className="hint"), *map(_example, found.examples)], className="card"
    )


def _example(example: CounterfactualExample) -> Any:
    sides = ((example.group, example.prompt, example.reply), (example.reference, example.reference_prompt, example.reference_reply))
    return html.Div([html.Div([_candidate(*side) for side in sides], className="pairing-sides")], className="pairing")


def _candidate(group: str, prompt: tuple[Message, ...], reply: str) -> Any:
    asked = next((message.content for message in reversed(prompt) if message.role == "user"), prompt[-1].content)
    told = "\n".join(message.content for message in prompt if message.role == "system")
    facts = (
        [html.Details([html.Summary("Facts given"), html.P(words.isolated(told), className="pre")], className="facts-block")]
        if told
        else []
    )
    return html.Div(
        [
            html.H3(words.isolated(group[:1].upper() + group[1:])),
            html.P(["“", words.isolated(asked), "”"], className="hint pre"),
            html.P(words.isolated(reply), className="pre"),
            *facts,
        ],
        className="pairing-side",
    )
