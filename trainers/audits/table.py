"""The table of audits. A new audit is a file beside this one and a row here."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, create_model

from storage.events import GateResult, Verdict
from storage.tables import by_name
from trainers.audits.audit import Audit, Finding, Needs
from trainers.audits.content import conduct, diversity, facts, length, personal_data, refusal, support, task_success
from trainers.audits.judgments import bias as judgments
from trainers.audits.policy import counterfactual, kl_budget, win_rate
from trainers.audits.reward import name_contrast

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

AUDITS: tuple[Audit, ...] = (
    judgments.AUDIT,
    win_rate.AUDIT,
    kl_budget.AUDIT,
    facts.AUDIT,
    conduct.AUDIT,
    length.AUDIT,
    refusal.AUDIT,
    task_success.AUDIT,
    diversity.AUDIT,
    personal_data.AUDIT,
    support.AUDIT,
    name_contrast.AUDIT,
    counterfactual.AUDIT,
)


def audits() -> dict[str, Audit]:
    """The audits by the names of their gates."""
    return by_name("audit", AUDITS)


def gates_section() -> type[BaseModel]:
    """The section ``[gates]`` of the settings: the limits of each audit under its name, with their defaults."""
    fields: dict[str, Any] = {name: (audit.limits, audit.limits()) for name, audit in audits().items()}
    model: type[BaseModel] = create_model("Gates", __config__=ConfigDict(frozen=True, extra="forbid"), **fields)
    model.__doc__ = "The section ``[gates]``: the limits of each audit."
    return model


def needs(limits: BaseModel) -> Needs:
    """What the gates need together: of each count the most that one of them asks for."""
    asked = [audit.needs(getattr(limits, name)) for name, audit in audits().items() if audit.needs is not None]
    return Needs(**{field: max((getattr(one, field) for one in asked), default=0) for field in Needs.model_fields})


def measure(trial: "Trial", progress: Callable[[int, int], None]) -> dict[str, Finding]:
    """Run every audit and return the findings by name; ``progress(done, total)`` is called after each.

    An exception in an audit gets a note that names it, and ends the evaluation: without every finding there is no verdict.
    """
    rows = audits()
    findings: dict[str, Finding] = {}
    for name, audit in rows.items():
        try:
            findings[name] = audit.measure(trial)
        except Exception as error:
            error.add_note(f"in the audit {name}")
            raise
        progress(len(findings), len(rows))
    return findings


def gate(findings: Mapping[str, Any], limits: BaseModel) -> tuple[GateResult, ...]:
    """Apply every audit's gate to its finding, in the order of the table."""
    return tuple(audit.gate(findings[name], getattr(limits, name)) for name, audit in audits().items())


def verdict(results: Iterable[GateResult]) -> Verdict:
    """Failed if any gate failed; else insufficient if any lacks evidence or there are none; else passed."""
    verdicts = {result.verdict for result in results}
    if "failed" in verdicts:
        return "failed"
    return "passed" if verdicts == {"passed"} else "insufficient"


def read_findings(values: Mapping[str, Any]) -> dict[str, Finding]:
    """The findings of a report, each parsed by its audit's model; those of unknown audits are dropped."""
    rows = audits()
    return {name: rows[name].finding.model_validate(value) for name, value in values.items() if name in rows}
