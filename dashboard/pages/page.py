"""What every page has, and what a page is given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dash import Dash

from dashboard.actions.reviews import Reviews
from dashboard.status.feed import Live
from trainers.runs.report import Report


@dataclass(frozen=True)
class Parts:
    """The parts of the hub that pages use; ``report_of`` gives the evaluation's report on a version of that name."""

    live: Live
    reviews: Reviews
    report_of: Callable[[str], Report]


@dataclass(frozen=True)
class Page:
    """One row of the table.

    Attributes
    ----------
    path, name : its address, and what the navigation calls it
    icon : its class in ``style.css``. The number beside the name is what ``dash_clientside.counts[icon]`` makes of status and runs, where a
        script of the page defines that
    layout : what stands in it; takes the part of the address after ``path``
    register : adds its callbacks
    """

    path: str
    name: str
    icon: str
    layout: Callable[[str], Any]
    register: Callable[[Dash, Parts], None]
