"""Formats the commands' output as tables, with rich."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

MARKS = {"passed": "passed", "failed": "FAILED", "insufficient": "too little evidence"}


def as_text(summary: Mapping[str, Any]) -> str:
    """The demo's summary."""
    counts = [
        (name.replace("_", " "), summary[name]) for name in ("replies", "pairs", "judgments", "reward_updates", "runs", "quarantined")
    ]
    seconds = [(name.replace("_", " "), f"{value:.1f} s") for name, value in summary["seconds"].items()]
    latencies = [(name.replace("_", " "), f"{value:.0f} ms" if value is not None else "–") for name, value in summary["latency_ms"].items()]
    win = summary["win_rate"]
    gates = [(name, MARKS[verdict], summary["gates_in_words"][name]) for name, verdict in summary["gates"].items()]
    verdict = MARKS[summary["verdict"]]
    lines = [
        _table(("count", ""), counts),
        _table(("seconds since the start", ""), seconds),
        _table(("latency of a judgment", ""), latencies),
        _table(("gate", "", "in words"), gates),
        f"version    {summary['version']}: {verdict}",
        f"win rate   {win['value']:.3f} [{win['low']:.3f}, {win['high']:.3f}] on the evaluation stratum"
        if win and win["value"] is not None
        else "",
        f"dashboard  {summary['dashboard']}",
        "all people and judgments of this run are simulated",
    ]
    return "\n".join(line for line in lines if line)


def status_as_text(status: Mapping[str, Any], ready: Mapping[str, bool]) -> str:
    """Counts, threshold and health of a running loop."""
    threshold, reward = status["threshold"], status["reward"]
    lines = [
        _table(("process", ""), [(name, "ready" if yes else "NOT ready") for name, yes in ready.items()]),
        _table(("count", ""), [(name.replace("_", " "), value) for name, value in status["counts"].items()]),
        _table(("waiting", ""), [(name.replace("_", " "), "–" if value is None else value) for name, value in status["waiting"].items()]),
        f"champion   {status['champion']['version']}",
        f"training   at {threshold['since']} of {threshold['every']} judgments",
        f"reward     prequential accuracy {reward['prequential_accuracy']:.3f} over {reward['prequential_n']}"
        if reward and reward["prequential_accuracy"] is not None
        else "reward     nothing learnt yet",
        *(f"problem    {problem}" for problem in status["health"]["problems"]),
        *(f"to review  {version}" for version in status["awaiting_review"]),
        "some of this data is simulated" if status["simulated"] else "",
    ]
    return "\n".join(line for line in lines if line)


def runs_as_text(runs: Sequence[Mapping[str, Any]]) -> str:
    """One line per run."""
    if not runs:
        return "no run yet: one starts when the next threshold is reached"
    rows = [
        (
            str(run["run_id"])[:13],
            run["method"],
            run["state"],
            f"{run['stage'] or ''} {run['step'] or 0}/{run['steps'] or 0}",
            run["version"] or "",
            run["verdict"] or run["reason"] or "",
        )
        for run in runs
    ]
    return _table(("run", "method", "state", "stage", "version", "verdict"), rows)


def differences_as_text(found: Mapping[str, Any]) -> str:
    """What ``verify`` found, with the ids."""
    not_covered = "\n".join(f"not covered: {item}" for item in found.get("not_covered", ()))
    if found["ok"]:
        agree = f"log, warehouse, derived events and artifacts agree: {found['checked']} events"
        return f"{agree}\n{not_covered}".strip()
    rows = [(what, str(item)) for what, items in found.items() if isinstance(items, list) and what != "not_covered" for item in items]
    return f"{_table(('difference', 'which'), rows)}\n{not_covered}\nthere are DIFFERENCES"


def gates_as_text(gates: Iterable[Mapping[str, Any]], verdict: str) -> str:
    """The gates of one version."""
    rows = [(gate["name"], MARKS[gate["verdict"]], gate["words"]) for gate in gates]
    return _table(("gate", "", "in words"), rows) + f"\nverdict: {MARKS[verdict]}"


def figures_as_text(figures: Iterable[tuple[str, Any]]) -> str:
    """Named figures, one per line."""
    return _table(("figure", ""), figures)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, name in enumerate(head):
        table.add_column(name, overflow="fold", no_wrap=False, justify="left" if position != 1 or len(head) > 2 else "right")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    out = io.StringIO()
    Console(file=out, width=140, color_system=None, highlight=False, markup=False).print(table)
    return out.getvalue().strip("\n")
