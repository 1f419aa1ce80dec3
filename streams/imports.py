"""Import preference records from files: ``feedbackloop import``.

Records are validated like requests of clients. Event ids are derived from the record, and records already on the log are skipped, so
importing a file twice is a no-op.
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
from streams.asking import AskingSettings
from streams.bus.lag import lag
from streams.bus.protocol import Bus, Partition, records_of
from streams.bus.quarantine import event_in
from streams.bus.scan import batches, beginning
from streams.bus.topics import JUDGMENTS, PAIRS
from streams.client_events import make_judgment, make_pair
from streams.privacy.redaction import Redactor
from streams.privacy.sealing import Sealer
from trainers.data.bad_lines import BadLine, BadLines
from trainers.data.preference import Preference
from trainers.data.records import layout_of, read_records

BATCH = 50  # records per transaction
MAX_LAG = 200  # entries of reader lag above which the import waits
STALL_TIMEOUT = 5.0  # seconds without progress after which the readers count as stopped
POLL_INTERVAL = 0.05  # seconds between reads of their marks
Item = tuple[int, Preference | BadLine]
READERS = (("sink", (PAIRS, JUDGMENTS)), ("embed", (PAIRS,)))
TIMEOUT = 30.0
NOT_ASKED = AskingSettings(uniform_share=1)  # always the same, so that a file imported again gives the same events


@dataclass
class ImportReport:
    """Result of an import: the file's layout, records added, records already present, and rejected lines."""

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
    max_lag: int = MAX_LAG,
    redactor: Redactor | None = None,
    sealer: Sealer | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Import the preference records of a JSONL file (gzipped or not) or a Parquet file.

    Parameters
    ----------
    key : key of the split into strata, see ``streams.pseudonyms.pseudonym_key``
    objective : what the records were judged by; ``overall`` stores it as the judgment's choice, anything else under its objectives
    counts : whether the judgments count towards the retraining threshold
    max_lag : back-pressure: wait while the readers lag by more than this many entries, so that live traffic goes first
    redactor : removes personal data from the records' texts; by default as the section ``[privacy]`` does without settings
    sealer : seals the texts; by default they stay as they are
    progress : called after every line with the numbers of processed and of rejected lines

    Raises
    ------
    InputRefused
        The objective is not a valid name.
    ConfigurationError
        The file cannot be read.
    DataRefused
        None of its lines is a preference record.
    """
    _check_objective(objective)
    redaction, sealing = redactor or Redactor(), sealer or Sealer()
    report, back_pressure = ImportReport(BadLines(path), layout_of(path).name), _BackPressure(bus, max_lag)
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
            logged_pair, logged_judgment = redaction.logged([pair]), redaction.logged([judgment])
        except InputRefused as error:
            report.bad.add(BadLine(number, str(error)))
            continue
        if judgment.event_id in known:
            report.present += 1
            continue
        fresh += sealing.logged(logged_judgment if pair.event_id in known else logged_pair + logged_judgment)
        known |= {pair.event_id, judgment.event_id}
        report.added += 1
        if len(fresh) >= 2 * BATCH:
            back_pressure.wait()
            bus.publish(records_of(fresh), timeout=TIMEOUT)
            fresh = []
    if fresh:
        back_pressure.wait()
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
    """The record as a pair and its judgment; ids derive from the record's hash, the stratum from the installation's ``key``."""
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
        asking=NOT_ASKED,
    )
    overall = objective == "overall"
    judgment = make_judgment(
        event_id=derived_id("import", digest, "judgment", objective),
        pair_id=pair.pair_id,
        # one pseudonym per objective, because a recruiter's second judgment of a pair replaces the first
        recruiter=f"import-{objective}",
        choice=record.choice if overall else None,
        objectives={} if overall else {objective: record.overall},
        strength=record.strength,
        counts=counts,
        source="import",
    )
    return pair, judgment


def _imported(bus: Bus) -> Iterator[UUID]:
    """The ids of all imported events on the log."""
    for entries in batches(bus, beginning(bus, [PAIRS.name, JUDGMENTS.name]), limit=5_000):
        for entry in entries:
            if b'"import"' in entry.value:
                try:
                    event = event_in(entry)
                except EventUnreadable:
                    continue  # quarantined by the sink
                if event.source == "import":
                    yield event.event_id


class _BackPressure:
    """Waits while readers lag; does not wait for readers that have stopped, which catch up from the log when they are back."""

    def __init__(self, bus: Bus, max_lag: int) -> None:
        self._bus, self._max_lag = bus, max_lag
        self._stalled_at: list[dict[Partition, int]] | None = None  # marks at the time of the last stall

    def wait(self) -> None:
        pause, since, best = threading.Event(), monotonic(), None
        while (backlog := sum(lag(self._bus, reader, topics) for reader, topics in READERS)) > self._max_lag:
            marks = [dict(self._bus.marked(reader)) for reader, _ in READERS]
            if marks == self._stalled_at:
                return
            if best is None or backlog < best:
                best, since = backlog, monotonic()
            if monotonic() - since > STALL_TIMEOUT:
                self._stalled_at = marks
                return
            pause.wait(POLL_INTERVAL)


def _check_objective(objective: str) -> None:
    try:
        TypeAdapter(Identifier).validate_python(objective)
    except ValidationError as error:
        raise InputRefused(f"objective {objective!r}: {problems(error.errors(include_input=False))}", "objective") from error
