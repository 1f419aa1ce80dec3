"""The interface of a measure: a figure of an evaluation that describes a model and decides nothing, unlike an audit with its gate.

A measure is one file and one row in :mod:`trainers.evaluation.table`; the report, the command's text and its pictures follow from the row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from trainers.audits.statistics.intervals import Interval

if TYPE_CHECKING:
    from trainers.evaluation.subject import Subject

CONFIDENCE = 0.95  # of every interval
Model = Literal["challenger", "champion", "base"]
Rows = list[tuple[str, str]]


class Measured(BaseModel):
    """What a measure found, as stored in the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


@dataclass(frozen=True)
class Measure:
    """One row of the table.

    Attributes
    ----------
    name : the key in the report
    found : model of the result
    measure : measures a subject; None where there is nothing to measure it on
    rows : the figures for people, as (label, text), given the names of the challenger and the model it is held against
    """

    name: str
    found: type[Measured]
    measure: "Callable[[Subject], Measured | None]"
    rows: Callable[[Any, "Names"], Rows]


@dataclass(frozen=True)
class Names:
    """What the models of an evaluation are called in text and pictures."""

    challenger: str
    champion: str

    def of(self, model: Model) -> str:
        """The name of one of the three models."""
        return {"challenger": self.challenger, "champion": self.champion}.get(model, "base model")


def with_bounds(found: Interval, form: str = ".3f", unit: str = "") -> str:
    """A figure with its interval as text: ``0.612 [0.580, 0.644]``."""
    if not found.n:
        return "–"
    if not found.bounded:
        return f"{found.figure:{form}}{unit} (no interval: {found.n})"
    return f"{found.figure:{form}}{unit} [{found.low:{form}}, {found.high:{form}}]"
