"""The table of measures. A new measure is a file beside this one and a row here."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from storage.tables import by_name
from trainers.evaluation import overlap, policies, reward_alignment, robustness, tasks
from trainers.evaluation.measure import Measure, Measured, Names, Rows

if TYPE_CHECKING:
    from trainers.evaluation.subject import Subject

MEASURES: tuple[Measure, ...] = (
    reward_alignment.MEASURE,
    policies.MEASURE,
    tasks.MEASURE,
    robustness.MEASURE,
    overlap.MEASURE,
)


def measures() -> dict[str, Measure]:
    """The measures by name."""
    return by_name("measure", MEASURES)


def measure_all(subject: "Subject", progress: Callable[[str], Callable[[int, int], None]]) -> dict[str, Measured]:
    """What each measure found, by name; a measure without anything to measure is left out.

    ``progress(name)`` reports the progress of the measure with this name. An exception in a measure gets a note that names it.
    """
    found: dict[str, Measured] = {}
    for name, row in measures().items():
        try:
            result = row.measure(replace(subject, progress=progress(name)))
        except Exception as error:
            error.add_note(f"in the measure {name}")
            raise
        if result is not None:
            found[name] = result
    return found


def read_measures(values: Mapping[str, Any]) -> dict[str, Measured]:
    """The measures of a report, each parsed by its own model; those of unknown measures are dropped."""
    known = measures()
    return {name: known[name].found.model_validate(value) for name, value in values.items() if name in known}


def rows_of(found: Mapping[str, Measured], names: Names) -> Rows:
    """The figures for people, in the order of the table."""
    return [row for name, measure in measures().items() if name in found for row in measure.rows(found[name], names)]
