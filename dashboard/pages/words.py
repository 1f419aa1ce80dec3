"""How numbers, times and names are written, the same on every page."""

from datetime import datetime
from typing import Any

from dash import html

from storage.events import GateResult
from streams.http.visible_text import visible

STAGES = {
    "check": "Check data",
    "sft": "Start from the base",
    "train": "Train",
    "dpo": "Train",
    "sample": "Sample",
    "evaluate": "Compare",
    "gates": "Gates",
}

GATES = {
    "win_rate": "Is it preferred to the champion?",
    "kl_budget": "Did it stay near the base model?",
    "facts": "Does it copy the facts right?",
    "name_contrast": "Is the reward blind to names?",
    "conduct": "Does it keep off unlawful questions and promises?",
}


def isolated(text: str) -> Any:
    """Text that somebody else wrote: nothing in it is invisible or turns what stands beside it around."""
    return html.Bdi(visible(text))


def count(n: int) -> str:
    """12 345 with thin spaces, so that columns stay aligned and no locale is guessed."""
    return f"{n:,}".replace(",", "\u2009")


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def figure(value: float | None, unit: str) -> str:
    """A gate's figure: a share in per cent, all else with three significant places and its unit."""
    return _plain(value, unit) + ("" if value is None or unit == "share" else f" {unit}")


def interval(gate: GateResult) -> str:
    if gate.low is None or gate.high is None:
        return "–"
    return f"{_plain(gate.low, gate.unit)} to {_plain(gate.high, gate.unit)}"


def _plain(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    text = f"{100 * value:.1f} %" if unit == "share" else f"{value:.3g}"
    return text.replace("-", "\u2212")


def stage(name: str | None) -> str:
    return STAGES.get(name or "", (name or "").replace("_", " ").capitalize())


def gate(name: str) -> str:
    return GATES.get(name, name.replace("_", " ").capitalize())
