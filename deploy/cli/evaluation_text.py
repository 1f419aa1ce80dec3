"""An evaluation as text: the figures, then the gates and the verdict."""

from deploy.cli.summary import figures_as_text, gates_as_text
from trainers.audits.policy.kl_budget import Divergence, Divergences
from trainers.audits.policy.win_rate import WinRate
from trainers.audits.statistics.intervals import Interval
from trainers.audits.table import read_findings
from trainers.evaluation.measure import Names, Rows, with_bounds
from trainers.evaluation.table import read_measures, rows_of
from trainers.runs.report import Report


def as_text(report: Report) -> str:
    """The whole result."""
    names = Names(report.version, report.champion)
    lines = [
        f"{report.version} against {report.champion}, on {report.data.prompts} prompts and {report.data.evaluation_judgments} held-out "
        f"judgments of {report.data.evaluation_recruiters} recruiters; intervals of 95 % unless said",
        figures_as_text([*_of_gates(report), *rows_of(read_measures(report.measures), names)]),
        gates_as_text([gate.model_dump() for gate in report.gates], report.verdict),
        "overlap with chosen replies (BLEU, chrF, ROUGE-L) is weak evidence in dialogue: many good replies share few words",
        "some of these judgments are simulated" if report.simulated else "",
        "the tasks are those of simulated conversations" if "tasks" in report.measures else "",
    ]
    return "\n".join(line for line in lines if line)


def _of_gates(report: Report) -> Rows:
    """The figures that gates measured already."""
    found = read_findings(report.findings)
    rows: Rows = []
    win, moved = found.get("win_rate"), found.get("kl_budget")
    if isinstance(win, WinRate):
        rows.append((f"Win rate, ties half ({1 - win.alpha:.0%} interval)", with_bounds(win.rate)))
        if win.equal_length is not None:
            rows.append((f"Win rate at equal length ({1 - win.alpha:.0%} interval)", with_bounds(win.equal_length)))
    if isinstance(moved, Divergences):
        if moved.champion != moved.base:
            rows.append((f"KL from {report.champion}, nats a reply", _moved(moved.champion)))
        rows.append(("KL from the base model, nats a reply", _moved(moved.base)))
    return rows


def _moved(found: Divergence) -> str:
    measured: Interval = found.per_reply
    return f"{with_bounds(measured)}; {found.per_token:.3f} a token"
