"""Texts of candidates in a run's artifacts: its report, and its replies over the training.

Each is sealed under a key of its own, which an erasure destroys if what it quotes may be the person's: the artifact keeps its hash and its
figures, and nobody reads its texts any more. The report quotes the evaluation prompts of the run's snapshot, the replies over the training
quote prompts of all of its rows.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

from storage.errors import TextLost
from storage.events import Message
from storage.texts.texts import Texts
from trainers.policy.reply_samples import RepliesAt, ReplySamples
from trainers.runs.report import PairedReply, Report

ERASED = "(erased)"
EXAMPLES = "examples"  # of a finding, with what was found in a reply

Change = Callable[[str], str]
Quoting = Literal["report", "replies"]


def run_kid(run_id: str, what: Quoting) -> str:
    """The id of the key of the run's report, or of its replies over the training."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"{what} of run {run_id}".encode()).digest()[:12]).decode("ascii")


def sealing(run_id: str, what: Quoting, texts: Texts) -> Change:
    """Seals a text under that key."""
    kid = run_kid(run_id, what)
    return lambda text: texts.sealed_under(kid, text)


def opening(texts: Texts) -> Change:
    """Opens a text; what was erased is ``ERASED``."""

    def opened(text: str) -> str:
        try:
            return texts.opened(text)
        except TextLost:
            return ERASED

    return opened


def changed_report(report: Report, change: Change) -> Report:
    """The report with its texts changed."""
    replies = tuple(
        PairedReply(
            prompt=_messages(each.prompt, change),
            challenger=change(each.challenger),
            champion=change(each.champion),
            reward_difference=each.reward_difference,
            chosen_as=each.chosen_as,
        )
        for each in report.replies
    )
    findings = {name: _finding(found, change) for name, found in report.findings.items()}
    return report.model_copy(update={"replies": replies, "findings": findings})


def changed_samples(found: ReplySamples, change: Change) -> ReplySamples:
    """The replies over a training with their texts changed."""
    return ReplySamples(
        prompts=tuple(_messages(prompt, change) for prompt in found.prompts),
        samples=tuple(RepliesAt(step=each.step, replies=tuple(map(change, each.replies))) for each in found.samples),
    )


def _messages(prompt: tuple[Message, ...], change: Change) -> tuple[Message, ...]:
    return tuple(message.model_copy(update={"content": change(message.content)}) for message in prompt)


def _finding(found: Any, change: Change) -> Any:
    """A finding as JSON. Examples that are no texts hold prompts of our own."""
    if not isinstance(found, Mapping) or not all(isinstance(each, str) for each in found.get(EXAMPLES) or ()):
        return found
    return {name: [change(each) for each in value] if name == EXAMPLES else value for name, value in found.items()}
