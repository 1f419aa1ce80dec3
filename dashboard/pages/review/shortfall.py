"""What it would take for a gate that did not pass: the evidence that is missing, as far as its needs, words and limits say."""

import math
import re

from dashboard.pages import words
from dashboard.status.reports import limits_of
from storage.events import GateResult
from trainers.audits.audit import Audit, Limits
from trainers.audits.table import audits
from trainers.runs.report import Report

SAID = re.compile(r"\b(?:needed|may show|evaluate the version again|Record candidates)\b")  # sentences of a gate that say what to do
SENTENCE = re.compile(r"(?<=[.])\s+")


def takes(report: Report) -> list[tuple[str, str]]:
    """What each gate that did not pass would take, by gate; failed ones first."""
    failed = [(gate.name, _another_version(gate)) for gate in report.gates if gate.verdict == "failed"]
    return failed + [(gate.name, _evidence(gate, report)) for gate in report.gates if gate.verdict == "insufficient"]


def _another_version(gate: GateResult) -> str:
    measured = f"{words.figure(gate.figure, gate.unit)} was measured" if gate.figure is not None else "it was missed"
    return f"Another version: the limit is “{gate.limit}”, and {measured}. The verdict is final for this version."


def _evidence(gate: GateResult, report: Report) -> str:
    audit = audits().get(gate.name)
    limits = limits_of(report, gate.name)
    if audit is not None and limits is not None and (counted := _countable(audit, limits, report)):
        return f"{', '.join(counted)} in the evaluation stratum; the next run waits for them."
    if said := [sentence for sentence in SENTENCE.split(gate.words) if SAID.search(sentence)]:
        text = " ".join(said).removeprefix("Not enough evidence: ")
        return text[:1].upper() + text[1:]
    if (n := _narrower(gate, getattr(limits, "within", None))) is not None:
        return f"About {words.count(n)} instead of {words.count(gate.n)}, if the interval narrows with the square root of their number."
    return "More evidence of the same kind; the next run measures again."


def _countable(audit: Audit, limits: Limits, report: Report) -> list[str]:
    """The counts that are short of what the audit needs."""
    if audit.needs is None:
        return []
    asked, data = audit.needs(limits), report.data
    pairs = (
        (asked.prompts - data.prompts, "more prompt"),
        (asked.judgments - data.evaluation_judgments, "more judgment"),
        (asked.recruiters - data.evaluation_recruiters, "more recruiter"),
    )
    return [words.plural(short, name) for short, name in pairs if short > 0]


def _narrower(gate: GateResult, within: float | None) -> int | None:
    """The n at which the interval would fit into ± ``within`` around the same figure; None where none would."""
    if within is None or gate.figure is None or gate.low is None or gate.high is None or abs(gate.figure) >= within:
        return None
    half_width = max(gate.high - gate.figure, gate.figure - gate.low)
    return math.ceil(gate.n * (half_width / (within - abs(gate.figure))) ** 2)
