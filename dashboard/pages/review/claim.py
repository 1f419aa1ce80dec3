"""What an evaluation claims: in a sentence, for whom, with which error rates, what was not checked, and what it would take."""

import math
from typing import Any

from dash import html
from pydantic import ValidationError

from dashboard.pages import words
from dashboard.pages.review.shortfall import takes
from dashboard.pages.shell import table
from dashboard.status.reports import findings_of
from trainers.audits.audit import Finding
from trainers.audits.duel import DuelRule
from trainers.audits.judgments.measurement import Judgments
from trainers.audits.policy.audit_prompts import AXES
from trainers.audits.policy.counterfactual import Counterfactuals
from trainers.audits.policy.win_rate import WinRate
from trainers.audits.table import audits
from trainers.runs.report import Report


def card(report: Report) -> Any:
    """The claim, and beside it what limits it."""
    found = findings_of(report)
    win_rate = found.get("win_rate")
    parts: list[Any] = [html.H2("What is claimed"), _statement(report, win_rate if isinstance(win_rate, WinRate) else None)]
    rows = [("For whom", _panel(report)), *(_rates(report, win_rate) if isinstance(win_rate, WinRate) else [])]
    parts += [table(rows), html.H3("Not checked"), html.Ul([html.Li(each) for each in unchecked(report, found)], className="plain")]
    if needed := takes(report):
        items = [html.Li([html.Strong(words.gate(name)), " ", words.isolated(text)]) for name, text in needed]
        parts += [html.H3("What it would take"), html.Ul(items, className="plain", id="takes")]
    return html.Section(parts, className="card claim", id="claim")


def _statement(report: Report, win_rate: WinRate | None) -> Any:
    """The claim in plain words; nothing is claimed unless every gate passed."""
    open_gates = [gate.verdict for gate in report.gates if gate.verdict != "passed"]
    measured: list[Any] = ["This report has no win rate."]
    if win_rate is not None:
        rate = win_rate.rate
        measured = [
            "Recruiters of this panel would prefer its replies to those of ",
            words.isolated(report.champion),
            " in ",
            html.Strong(words.percent(rate.figure)),
            f" of comparisons ({_from_to(rate.low, rate.high)}), ties counted half. ",
        ]
    if open_gates:
        failed, lacking = open_gates.count("failed"), open_gates.count("insufficient")
        why = [f"{words.plural(failed, 'gate')} failed"] if failed else []
        why += [f"{words.plural(lacking, 'gate')} lacked evidence"] if lacking else []
        return html.P([html.Strong(f"Nothing is claimed: {' and '.join(why)}. "), "Measured: ", *measured], className="statement")
    error = [f"The chance that a version that is not preferred gets this far is at most {words.percent(_alpha(report, win_rate), 0)}. "]
    return html.P([*measured, *(error if win_rate is not None else []), "Other recruiters may differ."], className="statement")


def _panel(report: Report) -> str:
    data, sources = report.data, set(report.lineage.sources)
    kind = "simulated recruiter" if sources == {"simulation"} else "recruiter"
    some = ", some of them simulated" if "simulation" in sources and len(sources) > 1 else ""
    return (
        f"{words.plural(data.evaluation_recruiters, kind)}{some}, with {words.plural(data.evaluation_judgments, 'judgment')}, "
        f"on {words.plural(data.prompts, 'prompt')} never used in training (source: {', '.join(sorted(sources))})"
    )


def _rates(report: Report, found: WinRate) -> list[tuple[str, Any]]:
    k = report.challengers_before + 1
    rows: list[tuple[str, Any]] = []
    if found.others is not None:
        rows.append(("Other recruiters", f"{_from_to(found.others.low, found.others.high)}, if this panel is a sample of them"))
    rows.append(("With replies of equal length", words.percent(found.length_controlled)))
    rows.append(
        (
            "Error rate of the gates",
            f"at most {words.percent(_alpha(report, found))} over all versions that challenge {report.champion}; "
            f"this one is number {k} and spends {words.percent(found.alpha, 1)}",
        )
    )
    rule = _duel(report)
    if rule is not None:
        rows.append(
            (
                "Error rate of the duel",
                f"at most {words.percent(rule.alpha)} more; it needs at least {rule.min_judgments} blind judgments of recruiters",
            )
        )
    return rows


def _alpha(report: Report, found: WinRate | None) -> float | None:
    """The error rate over all challengers of one champion: the setting, or what the spent part implies (6 alpha / (pi² k²))."""
    try:
        return float(report.settings["evaluation"]["alpha"])
    except (KeyError, TypeError, ValueError):
        return None if found is None else found.alpha * (math.pi * (report.challengers_before + 1)) ** 2 / 6


def _duel(report: Report) -> DuelRule | None:
    try:
        rule = DuelRule.model_validate(report.settings.get("duel"))
    except ValidationError:
        return None  # a run of a version without duels
    return rule if rule.required else None


def unchecked(report: Report, found: dict[str, Finding]) -> list[str]:
    """What the evaluation says nothing about, in sentences."""
    measured = {gate.name for gate in report.gates}
    missing = [words.gate(name) for name in audits() if name not in measured]
    lacking = [words.gate(gate.name) for gate in report.gates if gate.verdict == "insufficient"]
    sentences = ["Decisions about real candidates: no gate uses them; the page Fairness shows those that are recorded."]
    if missing:
        sentences.append(f"Not asked in this evaluation: {' '.join(missing)}")
    if lacking:
        sentences.append(f"Asked, but the evidence is too thin to answer: {' '.join(lacking)}")
    if isinstance(judgments := found.get("judgments"), Judgments):
        if judgments.small:
            sentences.append(f"Groups with too few judgments: {', '.join(judgments.small)}.")
        if rare := sorted({words.outcome(name) for names in judgments.untested.values() for name in names}):
            sentences.append(f"Recruiters' taste for {', '.join(rare)}: the replies of a pair rarely differ in it.")
        if judgments.unknown:
            sentences.append(f"{words.plural(judgments.unknown, 'judgment')} of candidates whose group is not known.")
    if isinstance(counterfactual := found.get("counterfactual"), Counterfactuals):
        varied = {each.axis for each in counterfactual.comparisons}
        if left := [axis for axis in AXES if axis not in varied]:
            sentences.append(f"Whether the candidate's {', '.join(left)} matters.")
        sentences.append(
            f"Other questions than the {counterfactual.prompts} audit prompts, and names that are not on the lists of US first names."
        )
    return sentences


def _from_to(low: float, high: float) -> str:
    return f"{100 * low:.0f} to {words.percent(high)}"
