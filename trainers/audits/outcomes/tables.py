"""Impact ratios of the decisions that a company has recorded with ``POST /v1/outcomes``, by stage and group.

They describe the deployed process, not a challenger, so no gate uses them: they are for the hub's ``/v1/fairness/impact-ratios``, the
fairness page and ``feedbackloop audit ll144``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from statistics import median

from pydantic import BaseModel, ConfigDict

from storage.errors import InputRefused
from storage.events import Source
from storage.texts.texts import Texts
from storage.warehouse.warehouse import Warehouse
from trainers.audits.outcomes.impact_ratio import Basis, Category, Count, RatioTable, ratio_table

SEX, RACE = "sex", "race_ethnicity"
REQUIRED = ((SEX,), (RACE,), (SEX, RACE))  # 6 RCNY § 5-301 (b) (3)
UNKNOWN = frozenset({"unknown", "undisclosed", "not disclosed", "prefer not to say", "declined"})


class StageTables(BaseModel):
    """The tables of one stage; a unit is one candidate's application for one position.

    Attributes
    ----------
    applications, candidates, positions : decisions at this stage, of how many different people and for how many positions
    selection : impact ratios of the selection rates
    scored, median_score : applications with a score, and their median, those of people with unknown groups included
    scoring : impact ratios of the scoring rates, the shares above the median; empty where nobody has a score
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    applications: int
    candidates: int
    positions: int
    first: datetime
    last: datetime
    selection: tuple[RatioTable, ...]
    scored: int
    median_score: float | None
    scoring: tuple[RatioTable, ...]


class OutcomesTable(BaseModel):
    """The impact ratios of the decisions from ``since`` to ``until``, both days included (UTC).

    Attributes
    ----------
    sources : the sources of the decisions
    applications, candidates : decisions, and of how many different people
    without_groups : candidates of whom no group is recorded
    first_reply : the time of the first reply of the chatbot on the log
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    since: date
    until: date
    sources: tuple[Source, ...]
    applications: int
    candidates: int
    without_groups: int
    first_reply: datetime | None
    stages: tuple[StageTables, ...]


@dataclass(frozen=True)
class Decision:
    """One recorded decision, with the candidate's known groups by attribute."""

    candidate: str
    position: str
    stage: str
    selected: bool
    score: float | None
    decided_at: datetime
    groups: Mapping[str, str]


def outcomes_table(warehouse: Warehouse, texts: Texts, since: date, until: date, sources: Sequence[Source] = ("product",)) -> OutcomesTable:
    """The tables of the decisions made from ``since`` to ``until``, both included, in UTC. ``texts`` opens the groups of candidates.

    Raises
    ------
    InputRefused
        ``until`` is before ``since``.
    """
    if until < since:
        raise InputRefused(f"to: {until} is before from = {since}; exchange the two dates", "to")
    wanted: tuple[Source, ...] = tuple(sorted(set(sources)))
    start = datetime.combine(since, time(), UTC)
    end = datetime.combine(until, time(), UTC) + timedelta(days=1)
    rows = warehouse.query("outcomes_between", {"since": start, "until": end, "sources": list(wanted)}).to_pylist()
    decisions = [
        Decision(
            candidate=row["candidate"],
            position=row["position"],
            stage=row["stage"],
            selected=row["selected"],
            score=row["score"],
            decided_at=row["decided_at"].astimezone(UTC),
            groups=known_groups(texts.groups(row["groups"])),
        )
        for row in rows
    ]
    first_reply = warehouse.query("first_reply", {"sources": list(wanted)}).to_pylist()[0]["at"]
    return OutcomesTable(
        since=since,
        until=until,
        sources=wanted,
        applications=len(decisions),
        candidates=len({each.candidate for each in decisions}),
        without_groups=len({each.candidate for each in decisions if not each.groups}),
        first_reply=first_reply.astimezone(UTC) if first_reply else None,
        stages=stage_tables(decisions),
    )


def known_groups(groups: Mapping[str, str]) -> dict[str, str]:
    """The groups without those that say "unknown" in one of the words of ``UNKNOWN``."""
    return {attribute: group for attribute, group in groups.items() if group.replace("_", " ").casefold() not in UNKNOWN}


def stage_tables(decisions: Sequence[Decision]) -> tuple[StageTables, ...]:
    """The tables of each stage, by the stages' names."""
    return tuple(_stage(stage, [each for each in decisions if each.stage == stage]) for stage in sorted({each.stage for each in decisions}))


def _stage(stage: str, decisions: Sequence[Decision]) -> StageTables:
    scores = [each.score for each in decisions if each.score is not None]
    middle = median(scores) if scores else None
    others = sorted({attribute for each in decisions for attribute in each.groups} - {SEX, RACE})
    tables = (*REQUIRED, *((attribute,) for attribute in others))
    selected = [(each.groups, each.selected) for each in decisions]
    above = [(each.groups, each.score > middle) for each in decisions if each.score is not None and middle is not None]
    return StageTables(
        stage=stage,
        applications=len(decisions),
        candidates=len({each.candidate for each in decisions}),
        positions=len({each.position for each in decisions}),
        first=min(each.decided_at for each in decisions),
        last=max(each.decided_at for each in decisions),
        selection=tuple(table_by(attributes, "selection", selected) for attributes in tables),
        scored=len(scores),
        median_score=middle,
        scoring=tuple(table_by(attributes, "scoring", above) for attributes in tables if above),
    )


def table_by(attributes: Sequence[str], basis: Basis, people: Sequence[tuple[Mapping[str, str], bool]]) -> RatioTable:
    """The table of ``people``, each with groups and whether selected; who lacks one of the attributes is counted as unknown."""
    n: Counter[Category] = Counter()
    selected: Counter[Category] = Counter()
    unknown = 0
    for groups, chosen in people:
        if all(attribute in groups for attribute in attributes):
            category = tuple(groups[attribute] for attribute in attributes)
            n[category] += 1
            selected[category] += chosen
        else:
            unknown += 1
    return ratio_table(attributes, basis, {category: Count(n[category], selected[category]) for category in n}, unknown)
