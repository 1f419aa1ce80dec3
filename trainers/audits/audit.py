"""What every audit has: a question, a measurement on a trial, and a gate with limits of its own.

An audit is one file and one row in :mod:`trainers.audits.table`. Pipeline, report, gates, review page, settings and their reference follow
from the row. Reading the table imports neither torch nor scipy: measurements import what they need when they run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from storage.events import GateResult

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Rows = list[tuple[str, str]]


class Limits(BaseModel):
    """What a gate holds a finding against: the section ``[gates.NAME]`` of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(BaseModel):
    """What an audit measured, as the report keeps it: an auditor can put it to the gate again."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def _no_rows(finding: Any) -> Rows:
    return []


@dataclass(frozen=True)
class Audit:
    """One row of the table.

    Attributes
    ----------
    name : of the gate, in events, reports and settings
    question : what the review page asks; a pass means yes
    limits, finding : the models of its limits (all with defaults) and of what it measures
    measure : takes the measurement
    gate : a pure function; a finding on too little evidence is *insufficient*, which is not a pass
    rows : figures that stand beside the gates on the review page, label and text
    """

    name: str
    question: str
    limits: type[Limits]
    finding: type[Finding]
    measure: Callable[["Trial"], Finding]
    gate: Callable[[Any, Any], GateResult]
    rows: Callable[[Any], Rows] = _no_rows


def too_little(name: str, words: str, limit: str, unit: str, n: int = 0) -> GateResult:
    """An *insufficient* result without a figure."""
    return GateResult(name=name, verdict="insufficient", figure=None, low=None, high=None, n=n, limit=limit, unit=unit, words=words)
