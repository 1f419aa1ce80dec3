"""Brings preference records from files in, through the same door as what people send: ``feedbackloop import``.

Every id comes from the record, and what the log holds already is left out, so that importing a file twice changes nothing.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from uuid import UUID

import orjson
from pydantic import TypeAdapter, ValidationError

from storage.errors import InputRefused
from storage.events import Event, Identifier, JudgmentGiven, PairDrawn, derived_id, problems
from streams.bus import Bus, records_of
from streams.intake import make_judgment, make_pair
from streams.lag import lag
from streams.topics import JUDGMENTS, PAIRS
from trainers.datasets import BadLine, PreferenceRecord, read_records

AT_ONCE = 50  # records a transaction
BEHIND = 200  # entries that the readers may be behind before the import waits for them
PATIENCE = 10.0  # seconds without any progress of theirs, after which nobody is taken to be reading
LOOK = 0.05  # seconds between looks at their marks
READERS = (("sink", (PAIRS, JUDGMENTS)), ("embed", (PAIRS,)))
TIMEOUT = 30.0


@dataclass
class ImportReport:
    """What became of a file: records added, records that were there before, and the lines that are no records."""

    added: int = 0
    present: int = 0
    bad: list[BadLine] = field(default_factory=list)


def import_file(path: Path, bus: Bus, *, objective: str = "overall", counts: bool = False, behind: int = BEHIND) -> ImportReport:
    """Import the preference records of a JSONL file (gzipped or not) or a Parquet file.

    Parameters
    ----------
    objective : what the records were judged by; ``overall`` makes the judgment's own choice of it
    counts : whether the judgments move the retraining threshold
    behind : live traffic goes first: wait while its readers are more entries than this behind

    Raises
    ------
    InputRefused
        The objective is no name.
    ConfigurationError
        The file cannot be read.
    """
    _check_objective(objective)
    report = ImportReport()
    known: set[UUID] | None = None
    fresh: list[Event] = []
    for number, item in read_records(path):
        if isinstance(item, BadLine):
            report.bad.append(item)
            continue
        if known is None:
            known = set(_imported(bus))
        try:
            pair, judgment = events_of(item, objective, counts)
        except InputRefused as error:
            report.bad.append(BadLine(number, str(error)))
            continue
        if judgment.event_id in known:
            report.present += 1
            continue
        fresh += [judgment] if pair.event_id in known else [pair, judgment]
        known |= {pair.event_id, judgment.event_id}
        report.added += 1
        if len(fresh) >= 2 * AT_ONCE:
            _publish(bus, fresh, behind)
            fresh = []
    _publish(bus, fresh, behind)
    return report


def events_of(record: PreferenceRecord, objective: str, counts: bool) -> tuple[PairDrawn, JudgmentGiven]:
    """The record as a pair and its judgment, sides and ids by the record's hash."""
    side = record.chosen_side
    chosen, rejected = ({"text": text, "version": "import"} for text in (record.chosen, record.rejected))
    pair = make_pair(
        prompt=record.prompt,
        a=chosen if side == "A" else rejected,
        b=rejected if side == "A" else chosen,
        drawn="imported",
        pair_id=derived_id("import", record.digest),
        event_id=derived_id("import", record.digest, "pair"),
        source="import",
    )
    overall = objective == "overall"
    judgment = make_judgment(
        event_id=derived_id("import", record.digest, "judgment", objective),
        pair_id=pair.pair_id,
        # one for each objective, because a recruiter's second judgment of a pair replaces the first
        recruiter=f"import-{objective}",
        choice=side if overall else None,
        objectives={} if overall else {objective: side},
        strength=record.strength,
        counts=counts,
        source="import",
    )
    return pair, judgment


def _imported(bus: Bus) -> Iterator[UUID]:
    """The ids of everything that was ever imported, as the log has them."""
    bounds = bus.bounds([PAIRS.name, JUDGMENTS.name])
    after = {partition: first - 1 for partition, (first, _) in bounds.items()}
    while entries := bus.read(after, limit=5_000, wait=0):
        for entry in entries:
            after[entry.partition] = entry.offset
            if b'"import"' in entry.value:
                try:
                    fields = orjson.loads(entry.value)
                    if fields["source"] == "import":
                        yield UUID(fields["event_id"])
                except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                    continue  # the sink has put it into quarantine


def _publish(bus: Bus, events: Sequence[Event], behind: int) -> None:
    if events:
        _let_live_traffic_pass(bus, behind)
        bus.publish(records_of(events), timeout=TIMEOUT)


def _let_live_traffic_pass(bus: Bus, behind: int) -> None:
    pause = threading.Event()
    best, since = None, monotonic()
    while (backlog := sum(lag(bus, reader, topics) for reader, topics in READERS)) > behind:
        if best is None or backlog < best:
            best, since = backlog, monotonic()
        if monotonic() - since > PATIENCE:
            return  # nobody reads; the log keeps it for when somebody does
        pause.wait(LOOK)


def _check_objective(objective: str) -> None:
    try:
        TypeAdapter(Identifier).validate_python(objective)
    except ValidationError as error:
        raise InputRefused(f"objective {objective!r}: {problems(error.errors(include_input=False))}", "objective") from error
