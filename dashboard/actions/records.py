"""The evidence on a version for download: the signed record of its promotion, and the judgments that decided its duel."""

from collections.abc import Callable
from typing import Literal

from dashboard.actions.reviews import NotFound, version_named
from storage.artifacts import Artifacts
from streams import versions as life


class Records:
    """Reads records and evidence from the artifact store, for versions as of the last commit.

    Parameters
    ----------
    folded : returns the versions as of the last commit; called for each request
    """

    def __init__(self, folded: Callable[[], life.Versions], artifacts: Artifacts) -> None:
        self._folded = folded
        self._artifacts = artifacts

    def record(self, version: str) -> bytes:
        """The DSSE envelope with the signed statement of the version's last promotion.

        Raises
        ------
        NotFound
            No such version; it was never promoted; or its promotion was not attested.
        ArtifactError
            The record cannot be read.
        """
        folded = self._folded()
        version_named(folded, version)
        promoted = [event for event in folded.promoted if event.version == version]
        if not promoted:
            raise NotFound(f"{version} has no record: it has not been promoted")
        if promoted[-1].record is None:
            raise NotFound(f"{version} has no record: its promotion was not attested, because it is from before records were kept")
        return self._artifacts.read(promoted[-1].record)

    def duel_evidence(self, version: str, stage: Literal["duel", "canary"]) -> bytes:
        """The judgments that decided the version's duel, or its canary.

        Raises
        ------
        NotFound
            No such version; or that stage has not ended, or ended without a judgment.
        ArtifactError
            The evidence cannot be read.
        """
        found = version_named(self._folded(), version)
        ended = next((event for event in found.decided if event.stage == stage), None)
        if ended is None:
            raise NotFound(f"the {stage} of {version} has not ended, so that no judgments have decided it; GET /v1/duel shows where it is")
        if ended.evidence is None:
            raise NotFound(f"no judgments decided the {stage} of {version}: {ended.words}")
        return self._artifacts.read(ended.evidence)
