"""Replies to the same prompts before, during and after a training, on the page of runs."""

from typing import Any

from dash import html

from trainers.policy.reply_samples import ReplySamples

TITLE = "Replies through the training"


def training_replies(found: ReplySamples) -> Any:
    """The first prompt's replies open, the others folded."""
    return html.Section(
        [
            html.H3(TITLE),
            html.P("The most likely reply to prompts of the training, so that what changes is the policy.", className="hint"),
            *[_prompt(found, number) for number in range(len(found.prompts))],
        ],
        className="training-replies",
    )


def _prompt(found: ReplySamples, number: int) -> Any:
    prompt = found.prompts[number]
    asked = next((message.content for message in reversed(prompt) if message.role == "user"), prompt[-1].content)
    rows = [
        html.Tr([html.Th(f"step {sample.step}", scope="row"), html.Td(sample.replies[number], className="pre")]) for sample in found.samples
    ]
    return html.Details([html.Summary(["“", asked, "”"]), html.Table(html.Tbody(rows))], open=number == 0, className="facts-block")
