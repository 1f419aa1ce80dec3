"""``feedbackloop verify`` and ``/v1/verify``: log against warehouse, derived events against their sources, artifacts by hash."""

from collections.abc import Iterator
from typing import Any

from dashboard.actions.deep_verification import deep_findings
from storage.artifacts import Artifacts
from storage.settings import Settings
from storage.texts.texts import Texts
from storage.warehouse.verify import verify
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Bus, Logged, Partition
from streams.bus.quarantine import event_in
from streams.bus.scan import batches
from streams.bus.topics import TOPICS
from streams.derived import check_derived


def verified(
    bus: Bus, warehouse: Warehouse, artifacts: Artifacts, settings: Settings, texts: Texts, *, deep: bool = False
) -> dict[str, Any]:
    """Report differences by kind, and what was not covered; ``deep`` looks at signatures too. Read-only."""
    report = verify(warehouse, _log(bus), lambda entry: event_in(Logged(Partition(*entry[:2]), entry[2], b"", entry[3])))
    derived = check_derived(warehouse, artifacts, settings, texts)
    findings = [*derived.findings, *(deep_findings(bus, warehouse, artifacts, settings) if deep else ())]
    found: dict[str, Any] = {"ok": report.clean and not findings, "checked": report.entries}
    found |= report.model_dump(include={"unreadable", "behind", "unpublished"})
    for finding in (*report.findings, *findings):
        found.setdefault(finding.what, []).append(f"{finding.where} {finding.event_id or ''}: {finding.words}")
    return found | {"not_covered": derived.not_covered}


def _log(bus: Bus) -> Iterator[tuple[str, int, int, bytes]]:
    for partition in bus.bounds(list(TOPICS)):
        for entries in batches(bus, {partition: -1}):
            for entry in entries:
                yield entry.partition.topic, entry.partition.number, entry.offset, entry.value
