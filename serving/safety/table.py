"""The table of safety filters. A new one is a file beside this one and a row here; its key in ``[safety]`` follows from the row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from pydantic import create_model

from serving.safety import conduct, injection, insults, moderation
from serving.safety.filter import Action, ByRules, Filter, Stage
from serving.safety.settings import SafetySettings
from storage.tables import by_name


@dataclass(frozen=True)
class FilterRow:
    """One row of the table.

    Attributes
    ----------
    name : its key in ``[safety]``, and the ``filter`` of its interventions
    looks_for : what it objects to, for the description of the setting
    stages : where it applies: to the candidate's ``question``, to the ``reply``
    action : what it does about a finding by default
    build : makes the filter from the section
    """

    name: str
    looks_for: str
    stages: tuple[Stage, ...]
    action: Action
    build: Callable[[SafetySettings], Filter]


FILTERS: tuple[FilterRow, ...] = (
    FilterRow(
        "conduct",
        "unlawful questions, promises of employment and unlawful preferences in replies",
        ("reply",),
        "replace",
        lambda _: ByRules(conduct.findings),
    ),
    FilterRow("insults", "insults and swearing in replies", ("reply",), "replace", lambda _: ByRules(insults.findings)),
    FilterRow(
        "injection", "instructions to the model in what candidates send", ("question",), "replace", lambda _: ByRules(injection.findings)
    ),
    FilterRow("moderation", "what the moderation endpoint flags, in questions and replies", ("question", "reply"), "off", moderation.build),
)


def section_of_filters() -> type[SafetySettings]:
    """The model of ``[safety]``: its own keys and one for each filter."""
    return _section(FILTERS)


@cache
def _section(filters: tuple[FilterRow, ...]) -> type[SafetySettings]:
    rows = by_name("safety filter", filters).values()
    keys = {row.name: (Action, row.action) for row in rows}
    described = "\n".join(f"{row.name} : what is done about {row.looks_for}" for row in rows)
    doc = f"{(SafetySettings.__doc__ or '').split('Attributes')[0].strip()}\n\nAttributes\n----------\n{described}\n"
    section: type[SafetySettings] = create_model("SafetyFilters", __base__=SafetySettings, __doc__=doc, **keys)  # type: ignore[call-overload]
    return section
