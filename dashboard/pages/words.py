"""Formats numbers, times and names, the same on every page."""

from datetime import datetime
from typing import Any

from dash import html

from storage.events import GateResult
from streams.http.visible_text import visible
from trainers.audits.table import audits

STAGES = {
    "check": "Check data",
    "sft": "Start from the base",
    "train": "Train",
    "dpo": "Train",
    "reward": "Reward model",
    "sample": "Sample",
    "evaluate": "Compare",
    "gates": "Gates",
}

OUTCOMES = {
    "dated": "a dated next step",
    "appointment": "an offered time",
    "warm": "warmth",
    "question": "a question",
    "refusal": "a refusal",
    "length": "length",
    "spread": "spread of length",
    "very_short": "a very short reply",
    "unlawful": "an unlawful question",
    "task": "the task done",
}


def isolated(text: str) -> Any:
    """Untrusted text: invisible characters are shown as escapes, and its writing direction does not affect the text around it."""
    return html.Bdi(visible(text))


def count(n: int) -> str:
    """12 345 with thin spaces, so that columns stay aligned and no locale is guessed."""
    return f"{n:,}".replace(",", "\u2009")


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def figure(value: float | None, unit: str) -> str:
    """A gate's figure: a share in per cent, anything else with three significant digits and its unit."""
    return _plain(value, unit) + ("" if value is None or unit == "share" else f" {unit}")


def interval(gate: GateResult) -> str:
    if gate.low is None or gate.high is None:
        return "–"
    return f"{_plain(gate.low, gate.unit)} to {_plain(gate.high, gate.unit)}"


def _plain(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    text = f"{100 * value:.1f}%" if unit == "share" else f"{value:.3g}"
    return text.replace("-", "\u2212")


def stage(name: str | None) -> str:
    return STAGES.get(name or "", (name or "").replace("_", " ").capitalize())


def gate(name: str) -> str:
    """The question that the gate answers; its name in words if there is no such audit."""
    audit = audits().get(name)
    return audit.question if audit is not None else name.replace("_", " ").capitalize()


def outcome(name: str) -> str:
    """An outcome that audits compare between groups, as the middle of a sentence has it."""
    return OUTCOMES.get(name, name.replace("_", " "))
