"""How numbers, times and names are written, the same on every page."""

from datetime import datetime

from storage.events import GateResult

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


def count(n: int) -> str:
    """12 345 with thin spaces, so that columns stay aligned and no locale is guessed."""
    return f"{n:,}".replace(",", "\u2009")


def plural(n: int, one: str, many: str | None = None) -> str:
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def ago(then: datetime | None, now: datetime) -> str:
    """How long before ``now``, in the largest unit that fits."""
    if then is None:
        return "–"
    seconds = max(0.0, (now - then).total_seconds())
    for unit, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name} ago"
    return "just now" if seconds < 5 else f"{int(seconds)} s ago"


def clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def figure(value: float | None, unit: str) -> str:
    """A gate's figure in its unit, three significant places at most."""
    if value is None:
        return "–"
    if unit in {"share", "1"}:
        return f"{100 * value:.1f} %"
    if unit in {"points", "percentage points"}:
        return f"{100 * value:+.1f} points" if abs(value) <= 1 else f"{value:+.1f} points"
    return f"{value:.3g}"


def interval(gate: GateResult) -> str:
    if gate.low is None or gate.high is None:
        return "–"
    return f"{figure(gate.low, gate.unit)} to {figure(gate.high, gate.unit)}"


def stage(name: str | None) -> str:
    return STAGES.get(name or "", (name or "").replace("_", " ").capitalize())


def gate(name: str) -> str:
    return GATES.get(name, name.replace("_", " ").capitalize())
