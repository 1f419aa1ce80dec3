"""Reads a run's artifacts that hold texts of candidates, with the texts opened."""

from dataclasses import dataclass

from dashboard.actions.reviews import Reviews
from storage.artifacts import Artifacts
from storage.texts.texts import Texts
from trainers.policy.reply_samples import ReplySamples
from trainers.runs.report import Report, read_report
from trainers.runs.texts import changed_report, changed_samples, opening


@dataclass(frozen=True)
class RunTexts:
    """Nothing is kept in memory, so that what was erased is gone with its key."""

    artifacts: Artifacts
    texts: Texts
    reviews: Reviews

    def report(self, version: str) -> Report:
        """The evaluation report of the named version."""
        return changed_report(read_report(self.artifacts, self.reviews.find(version).evaluated.report), opening(self.texts))

    def replies(self, sha: str) -> ReplySamples:
        """The replies over a training, from the artifact of this hash."""
        return changed_samples(ReplySamples.model_validate_json(self.artifacts.read(sha)), opening(self.texts))
