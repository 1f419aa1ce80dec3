"""A reviewer's decisions on their way to the log: approve, reject, roll back.

What is not allowed is refused here with its reasons. What comes by another door changes nothing either: ``streams.versions`` ignores it.
"""

from collections.abc import Callable

from pydantic import ValidationError

from dashboard.status.versions import obstacles
from storage.artifacts import Artifacts
from storage.errors import ArtifactError, FeedbackLoopError, InputRefused
from storage.events import ModelRolledBack, ReviewDecided, Source
from streams import versions as life
from streams.bus.protocol import Bus, records_of
from streams.http.visible_text import first_invisible

TIMEOUT = 5.0  # seconds that a reviewer waits for the log


class NotFound(FeedbackLoopError):
    """There is no such version."""


class Conflict(FeedbackLoopError):
    """The decision is no legal next step; ``reasons`` say why."""

    def __init__(self, message: str, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons


class Reviews:
    """The one way to decide about a version, for the API and the page.

    Parameters
    ----------
    lives : the versions as of the last commit, folded again for each decision
    artifacts : where a version's policy has to be before it can be approved
    """

    def __init__(self, bus: Bus, lives: Callable[[], life.Versions], artifacts: Artifacts) -> None:
        self._bus = bus
        self._lives = lives
        self._artifacts = artifacts

    def find(self, version: str) -> life.Version:
        """The version of that name; :class:`NotFound` where there is none."""
        return _find(self._lives(), version)

    def decide(self, version: str, *, decision: str, reviewer: str, reason: str, source: Source = "product") -> ReviewDecided:
        """Publish the decision.

        Raises
        ------
        InputRefused
            Decision, reviewer or reason is missing or not acceptable.
        NotFound, Conflict
            No such version; or a gate failed, lacks evidence, or the version does not await review.
        """
        lives = self._lives()
        found = _find(lives, version)
        _check_name(reviewer)
        try:
            event = ReviewDecided(version=version, decision=decision, reviewer=reviewer, reason=reason, source=source)
        except ValidationError as error:
            raise _refused(error) from error
        objection = life.legal_review(lives, version, event.decision)
        if objection:
            raise Conflict(objection, obstacles(found, lives) or (objection,))
        if event.decision == "approve":
            self._require_policy(found)
        self._bus.publish(records_of([event]), timeout=TIMEOUT)
        return event

    def _require_policy(self, version: life.Version) -> None:
        """Approved is what can be served: every byte of the policy is there and is what was judged."""
        try:
            self._artifacts.get(version.evaluated.policy)
        except ArtifactError as error:
            reason = f"{version.name} cannot be served: {error}"
            raise Conflict(reason, (reason,)) from error

    def roll_back(self, *, reviewer: str, reason: str, source: Source = "product") -> ModelRolledBack:
        """Withdraw the champion; the one before it serves again. :class:`Conflict` where the base model is the champion."""
        lives = self._lives()
        _check_name(reviewer)
        try:
            event = ModelRolledBack(version=lives.champion, reviewer=reviewer, reason=reason, source=source)
        except ValidationError as error:
            raise _refused(error) from error
        objection = life.objection(lives, event)
        if objection:
            raise Conflict(objection, (objection,))
        self._bus.publish(records_of([event]), timeout=TIMEOUT)
        return event


def _find(lives: life.Versions, version: str) -> life.Version:
    found = lives.versions.get(version)
    if found is None:
        raise NotFound(f"there is no version {version[:80]!r}; GET /v1/versions lists them")
    return found


def _check_name(reviewer: str) -> None:
    """A name with a character that nobody sees could be read as another one's."""
    hidden = first_invisible(reviewer)
    if hidden is not None:
        raise InputRefused(f"reviewer: holds {hidden}, a character that cannot be seen; type the name without it", "reviewer")


def _refused(error: ValidationError) -> InputRefused:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else None
    hints = {"reviewer": "type the reviewer's name", "reason": "say why in a sentence", "decision": "use approve or reject"}
    return InputRefused(f"{field}: {first['msg']}; {hints.get(field or '', 'see the API description')}", field)
