"""Evaluation reports as the promotions page reads them, also those of older versions."""

from pathlib import Path

import orjson
import pytest

from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from tests.dashboard.evaluated import report_on
from trainers.audits.policy.kl_budget import Divergences
from trainers.audits.policy.win_rate import WinRate
from trainers.audits.table import audits, read_findings
from trainers.runs.frozen import FIRST_REQUIRED
from trainers.runs.report import Report, read_report

RELEASED = Path(__file__).parents[1] / "trainers" / "released"


def test_a_report_is_read_as_it_was_written_and_each_finding_by_its_audit(tmp_path: Path) -> None:
    written = Report.model_validate(report_on("v-3fa1c09d27be", "3fa1c09d27be" + "0" * 52, "run"))
    artifacts = Artifacts(str(tmp_path))
    read = read_report(artifacts, artifacts.put_bytes(written.model_dump_json().encode()))
    assert read == written
    findings = read_findings(read.findings)
    assert set(findings) == set(audits())
    assert isinstance(findings["win_rate"], WinRate)
    rows = dict(row for name, finding in findings.items() for row in audits()[name].rows(finding))
    assert rows["Win rate at equal length"] == "61.1%"
    assert rows["KL from the champion"] == "2.21 nats a reply, 0.060 a token"


def test_the_report_of_an_audit_that_this_program_lacks_is_read(tmp_path: Path) -> None:
    fields = report_on("v-1", "1" * 64, "run")
    fields["findings"]["of_another_program"] = {"distinct": 0.4}
    artifacts = Artifacts(str(tmp_path))
    read = read_report(artifacts, artifacts.put_bytes(orjson.dumps(fields)))
    assert "of_another_program" not in read_findings(read.findings)


def test_a_report_of_the_first_version_is_read(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path))
    read = read_report(artifacts, artifacts.put_bytes((RELEASED / "report.1.json").read_bytes()))
    findings = read_findings(read.findings)
    assert list(findings) == list(FIRST_REQUIRED)
    moved = findings["kl_budget"]
    assert isinstance(moved, Divergences)
    assert moved.base.per_reply.figure > 0
    assert {gate.name for gate in read.gates} == set(findings) == {"win_rate", "kl_budget", "facts", "conduct", "name_contrast"}


@pytest.mark.parametrize("bytes_", [b"{}", b"not JSON"])
def test_another_programs_report_is_refused(tmp_path: Path, bytes_: bytes) -> None:
    artifacts = Artifacts(str(tmp_path))
    with pytest.raises(ArtifactError, match="cannot be shown"):
        read_report(artifacts, artifacts.put_bytes(bytes_))
