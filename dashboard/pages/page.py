"""What a page consists of, and which parts of the hub it gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from dash import Dash

from access.permissions import Permission
from dashboard.actions.reviews import Reviews
from dashboard.status.feed import ReadingFeed
from dashboard.status.integrity import Integrity
from dashboard.status.people import PeopleReadings
from dashboard.status.reward import RewardReadings
from dashboard.status.serving_version import Ranker
from storage.events import Source
from trainers.audits.outcomes.tables import OutcomesTable
from trainers.policy.reply_samples import ReplySamples
from trainers.runs.report import Report


@dataclass(frozen=True)
class Parts:
    """The parts of the hub that pages use.

    Attributes
    ----------
    report_of : returns the evaluation report of the named version
    impact_ratios : returns the tables of the decisions recorded between two days, of these sources
    reward : makes readings of what is known of the reward model
    ranker : returns what serving ranks by; None if it does not say
    integrity : checks the newest judgments
    replies_of : returns the replies of a training from the artifact of this hash
    """

    live: ReadingFeed
    reviews: Reviews
    report_of: Callable[[str], Report]
    impact_ratios: Callable[[date, date, Sequence[Source]], OutcomesTable]
    reward: RewardReadings
    ranker: Callable[[], Ranker | None]
    replies_of: Callable[[str], ReplySamples]
    people: PeopleReadings
    integrity: Callable[[], Integrity]


@dataclass(frozen=True)
class Page:
    """A page: one row of the table ``PAGES``.

    Attributes
    ----------
    path, name : its address, and its name in the navigation
    icon : its class in ``style.css``. A script may define ``dash_clientside.counts[icon]``, a function of status and runs that returns the
        number shown beside the name
    layout : returns its content; takes the part of the address after ``path``
    register : adds its callbacks
    needs : the permission without which neither the page nor its callbacks answer
    """

    path: str
    name: str
    icon: str
    layout: Callable[[str], Any]
    register: Callable[[Dash, Parts], None]
    needs: Permission = "read"
