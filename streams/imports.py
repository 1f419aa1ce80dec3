"""Brings preference records from files in, through the same door as what people send: ``feedbackloop import``.

Every id comes from the record, and what the log holds already is left out, so that importing a file twice changes nothing.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from storage.errors import EventUnreadable, InputRefused
from storage.events import Event, Identifier, JudgmentGiven, PairDrawn, derived_id, problems
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Partition, records_of
from streams.bus.quarantine import event_in
from streams.bus.scan import batches, beginning
from streams.bus.topics import JUDGMENTS, PAIRS
from streams.intake import make_judgment, make_pair
from trainers.data.bad_lines import BadLine, BadLines
from trainers.data.preference import Preference
from trainers.data.records import layout_of, read_records

AT_ONCE = 50  # records a transaction
BEHIND = 200  # entries that the readers may be behind before the import waits for them
PATIENCE = 5.0  # seconds without any progress of theirs, after which nobody is taken to be reading
LOOK = 0.05  # seconds between looks at their marks
Item = tuple[int, Preference | BadLine]
READERS = (("sink", (PAIRS, JUDGMENTS)), ("embed", (PAIRS,)))
TIMEOUT = 30.0


@dataclass
class ImportReport:
    """What became of a file: its layout, records added, records that were there before, and the lines that are no records."""

    bad: BadLines
    layout: str
    added: int = 0
    present: int = 0


def import_file(
    path: Path,
    bus: Bus,
    key: bytes,
    *,
    objective: str = "overall",
    counts: bool = False,
    behind: int = BEHIND,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import the preference records of a JSONL file (gzipped or not) or a Parquet file.

    Parameters
    ----------
    key : what the split into strata is made with, see ``streams.pseudonyms.pseudonym_key``
    objective : what the records were judged by; ``overall`` makes the judgment's own choice of it
    counts : whether the judgments move the retraining threshold
    behind : live traffic goes first: wait while its readers are more entries than this behind
    progress : called after every line with how many are done, and how many of them were refused

    Raises
    ------
    InputRefused
        The objective is no name.
    ConfigurationError
        The file cannot be read.
    DataRefused
        Not one of its lines is a preference record.
    """
    _check_objective(objective)
    report, pace = ImportReport(BadLines(path), layout_of(path).name), _Pace(bus, behind)
    known: set[UUID] | None = None
    fresh: list[Event] = []
    for number, item in _counted(read_records(path), report, progress):
        if isinstance(item, BadLine):
            report.bad.add(item)
            continue
        if known is None:
            known = set(_imported(bus))
        try:
            pair, judgment = events_of(item, objective, counts, key)
        except InputRefused as error:
            report.bad.add(BadLine(number, str(error)))
            continue
        if judgment.event_id in known:
            report.present += 1
            continue
        fresh += [judgment] if pair.event_id in known else [pair, judgment]
        known |= {pair.event_id, judgment.event_id}
        report.added += 1
        if len(fresh) >= 2 * AT_ONCE:
            pace.keep()
            bus.publish(records_of(fresh), timeout=TIMEOUT)
            fresh = []
    if fresh:
        pace.keep()
        bus.publish(records_of(fresh), timeout=TIMEOUT)
    if not report.added and not report.present:
        raise report.bad.all_refused()
    return report


def _counted(items: Iterator[Item], report: ImportReport, progress: Callable[[int, int], None] | None) -> Iterator[Item]:
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None:
            progress(done, report.bad.count)


def events_of(record: Preference, objective: str, counts: bool, key: bytes) -> tuple[PairDrawn, JudgmentGiven]:
    """The record as a pair and its judgment, ids by the record's hash, the stratum by the installation's ``key``."""
    digest = record.digest
    pair = make_pair(
        key,
        prompt=record.prompt,
        a={"text": record.a, "version": "import"},
        b={"text": record.b, "version": "import"},
        drawn="imported",
        pair_id=derived_id("import", digest),
        event_id=derived_id("import", digest, "pair"),
        source="import",
    )
    overall = objective == "overall"
    judgment = make_judgment(
        event_id=derived_id("import", digest, "judgment", objective),
        pair_id=pair.pair_id,
        # one for each objective, because a recruiter's second judgment of a pair replaces the first
        recruiter=f"import-{objective}",
        choice=record.choice if overall else None,
        objectives={} if overall else {objective: record.choice},
        strength=record.strength,
        counts=counts,
        source="import",
    )
    return pair, judgment


def _imported(bus: Bus) -> Iterator[UUID]:
    """The ids of everything that was ever imported, as the log has them."""
    for entries in batches(bus, beginning(bus, [PAIRS.name, JUDGMENTS.name]), limit=5_000):
        for entry in entries:
            if b'"import"' in entry.value:
                try:
                    event = event_in(entry)
                except EventUnreadable:
                    continue  # the sink has put it into quarantine
                if event.source == "import":
                    yield event.event_id


class _Pace:
    """Waits while readers are behind; not for readers that have stopped reading: the log keeps it for when they are back."""

    def __init__(self, bus: Bus, behind: int) -> None:
        self._bus, self._behind = bus, behind
        self._given_up: list[dict[Partition, int]] | None = None  # where the readers stood when they were given up

    def keep(self) -> None:
        pause, since, best = threading.Event(), monotonic(), None
        while (backlog := sum(lag(self._bus, reader, topics) for reader, topics in READERS)) > self._behind:
            marks = [dict(self._bus.marked(reader)) for reader, _ in READERS]
            if marks == self._given_up:
                return
            if best is None or backlog < best:
                best, since = backlog, monotonic()
            if monotonic() - since > PATIENCE:
                self._given_up = marks
                return
            pause.wait(LOOK)


def _check_objective(objective: str) -> None:
    try:
        TypeAdapter(Identifier).validate_python(objective)
    except ValidationError as error:
        raise InputRefused(f"objective {objective!r}: {problems(error.errors(include_input=False))}", "objective") from error
