"""The interface of an audit: a question, a measurement on a trial, and a gate with its own limits.

An audit is one file and one row in :mod:`trainers.audits.table`. Pipeline, report, gates, review page, settings and the settings reference
follow from the row. Importing the table imports neither torch nor scipy: measurements import them when they run.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from storage.events import GateResult, Verdict
from trainers.audits.statistics.intervals import Interval

if TYPE_CHECKING:
    from trainers.audits.trial import Trial

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Rows = list[tuple[str, str]]
Topic = Literal["preference", "fairness", "content"]  # is it better, is it fair, is it safe and correct


class Limits(BaseModel):
    """Thresholds of a gate: the section ``[gates.NAME]`` of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(BaseModel):
    """What an audit measured, as stored in the report, so that an auditor can apply the gate again."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Needs(BaseModel):
    """Evidence without which a gate can only say *insufficient*, all of the evaluation stratum; counted before a run starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: Annotated[int, Field(ge=0)] = 0
    judgments: Annotated[int, Field(ge=0)] = 0
    recruiters: Annotated[int, Field(ge=0)] = 0


def _no_rows(finding: Any) -> Rows:
    return []


@dataclass(frozen=True)
class Audit:
    """One row of the table.

    Attributes
    ----------
    name : the gate's name in events, reports and settings
    question : shown on the review page; a pass means yes
    limits, finding : models of its limits (all with defaults) and of its measurement
    measure : measures a trial
    gate : a pure function of finding and limits; too little evidence gives *insufficient*, which is not a pass
    rows : further figures for the review page, as (label, text)
    needs : what the limits ask for that can be counted before a run starts; a run waits for it. None if nothing
    topic : what the question is about; the review page groups gates by it
    """

    name: str
    question: str
    limits: type[Limits]
    finding: type[Finding]
    measure: Callable[["Trial"], Finding]
    gate: Callable[[Any, Any], GateResult]
    rows: Callable[[Any], Rows] = _no_rows
    needs: Callable[[Any], Needs] | None = None
    topic: Topic = "content"


def result(name: str, verdict: Verdict, measured: Interval, *, limit: str, unit: str, words: str, n: int | None = None) -> GateResult:
    """A result with ``measured`` as its figure and interval, and ``n`` or else its number of units; what is infinite is left out."""
    return GateResult(
        name=name,
        verdict=verdict,
        figure=measured.figure if math.isfinite(measured.figure) else None,
        low=measured.low if measured.bounded else None,
        high=measured.high if measured.bounded else None,
        n=measured.n if n is None else n,
        limit=limit,
        unit=unit,
        words=words,
    )


def insufficient(name: str, words: str, limit: str, unit: str, n: int = 0) -> GateResult:
    """An *insufficient* result without a figure."""
    return GateResult(name=name, verdict="insufficient", figure=None, low=None, high=None, n=n, limit=limit, unit=unit, words=words)
