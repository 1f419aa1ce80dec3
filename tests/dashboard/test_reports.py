"""What the promotions page reads is what the evaluation writes."""

from pathlib import Path

import pytest

from dashboard.status.reports import ShownReport, read_report
from storage.artifacts import Artifacts
from storage.errors import ArtifactError
from tests.dashboard.small_world import gate_results, report_on
from trainers.runs.report import Report


def test_a_report_of_the_evaluation_can_be_shown(tmp_path: Path) -> None:
    written = Report.model_validate(report_on("v-3fa1c09d27be", "3fa1c09d27be" + "0" * 52, "run", gate_results("passed", "passed")))
    artifacts = Artifacts(str(tmp_path))
    shown = read_report(artifacts, artifacts.put_bytes(written.model_dump_json().encode()))
    assert [reply.model_dump() for reply in shown.replies] == [reply.model_dump() for reply in written.replies]
    assert shown.kl_champion.per_token == written.kl_champion.per_token
    assert set(ShownReport.model_fields) <= set(Report.model_fields)


def test_another_programs_report_is_refused_with_its_field(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path))
    with pytest.raises(ArtifactError, match="replies"):
        read_report(artifacts, artifacts.put_bytes(b"{}"))
