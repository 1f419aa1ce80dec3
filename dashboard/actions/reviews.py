"""Publishes a reviewer's decisions to the log: approve, reject, roll back.

Illegal decisions are refused here with reasons. Those that reach the log in another way change nothing: ``streams.versions`` ignores them.
"""

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from access.caller import Caller, made_by
from access.permissions import Permission
from dashboard.status.versions import obstacles
from storage.artifacts import Artifacts
from storage.attestation.keys import read_ed25519
from storage.errors import ArtifactError, AttestationError, FeedbackLoopError, InputRefused
from storage.events import ModelRolledBack, ReviewDecided, Source
from streams import versions as life
from streams.bus.protocol import Bus, records_of
from streams.http.visible_text import first_invisible, without_paths

TIMEOUT = 5.0  # seconds to wait for the log
MAY_ROLL_BACK: tuple[Permission, ...] = ("review", "admin")


class NotFound(FeedbackLoopError):
    """There is no such version, run, page or route."""


class Conflict(FeedbackLoopError):
    """The action is not a legal next step; ``reasons`` say why."""

    def __init__(self, message: str, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons


class Reviews:
    """Decides about versions, for the API and the page alike.

    Parameters
    ----------
    folded : returns the versions as of the last commit; called for each decision
    artifacts : the store that must hold a version's policy before it can be approved
    check_key : raises :class:`AttestationError` if the reviewer's key, which signs the promotion, cannot be used
    """

    def __init__(
        self, bus: Bus, folded: Callable[[], life.Versions], artifacts: Artifacts, check_key: Callable[[], None] = lambda: None
    ) -> None:
        self._bus = bus
        self._check_key = check_key
        self._folded = folded
        self._artifacts = artifacts

    def find(self, version: str) -> life.Version:
        """The version of that name; raises :class:`NotFound` if there is none."""
        return version_named(self._folded(), version)

    def decide(
        self, caller: Caller, version: str, *, decision: str, reviewer: str | None = None, reason: str, source: Source = "product"
    ) -> ReviewDecided:
        """Publish the decision of ``reviewer``, or of who has signed in.

        Raises
        ------
        NotAllowed
            The caller may not review, or not under this name.
        InputRefused
            Decision, reviewer or reason is missing or not acceptable.
        NotFound, Conflict
            No such version; or a gate failed, lacks evidence, or the version does not await review.
        """
        caller.require("review")
        folded = self._folded()
        found = version_named(folded, version)
        reviewer = _name(caller, reviewer)
        try:
            event = ReviewDecided(version=version, decision=decision, reviewer=reviewer, reason=reason, source=source)
        except ValidationError as error:
            raise _refused(error) from error
        objection = life.legal_review(folded, version, event.decision, event.reviewer)
        if objection:
            raise Conflict(objection, obstacles(found, folded) or (objection,))
        if event.decision == "approve":
            self._require_policy(found)
        self._bus.publish(records_of([event, *made_by(caller, event)]), timeout=TIMEOUT)
        return event

    def _require_policy(self, version: life.Version) -> None:
        """Refuse approval unless every byte of the policy is stored and matches what was evaluated, and the reviewer's key can sign."""
        try:
            self._artifacts.get(version.evaluated.policy)
            self._check_key()
        except ArtifactError as error:
            reason = f"{version.name} cannot be served: {error}"
            raise Conflict(reason, (reason,)) from error
        except AttestationError as error:
            reason = f"{version.name} cannot be signed for: {without_paths(str(error))}"
            raise Conflict(reason, (reason,)) from error

    def roll_back(self, caller: Caller, *, reviewer: str | None = None, reason: str, source: Source = "product") -> ModelRolledBack:
        """Withdraw the champion; the previous one serves again.

        Raises
        ------
        NotAllowed
            The caller may neither review nor administer, or not under this name.
        InputRefused
            Reviewer or reason is missing or not acceptable.
        Conflict
            The base model is the champion.
        """
        caller.require(*MAY_ROLL_BACK)
        folded = self._folded()
        reviewer = _name(caller, reviewer)
        try:
            event = ModelRolledBack(version=folded.champion, reviewer=reviewer, reason=reason, source=source)
        except ValidationError as error:
            raise _refused(error) from error
        objection = life.objection(folded, event)
        if objection:
            raise Conflict(objection, (objection,))
        self._bus.publish(records_of([event, *made_by(caller, event)]), timeout=TIMEOUT)
        return event


def check_reviewer_key(path: Path | None) -> Callable[[], None]:
    """The check of a reviewer's key for :class:`Reviews`: at each approval, since the key may lie on a device that comes and goes."""

    def check() -> None:
        if path is not None:
            read_ed25519(path)

    return check


def version_named(folded: life.Versions, version: str) -> life.Version:
    """The version of that name; raises :class:`NotFound` if there is none."""
    found = folded.versions.get(version)
    if found is None:
        raise NotFound(f"there is no version {version[:80]!r}; GET /v1/versions lists them")
    return found


def _name(caller: Caller, given: str | None) -> str:
    """Who decides; refuses names with invisible characters, which could be read as another name."""
    reviewer = caller.signs_as(given, "reviewer")
    if reviewer is None:
        raise InputRefused("reviewer: Field required; say who decides", "reviewer")
    hidden = first_invisible(reviewer)
    if hidden is not None:
        raise InputRefused(f"reviewer: contains {hidden}, an invisible character; type the name without it", "reviewer")
    return reviewer


def _refused(error: ValidationError) -> InputRefused:
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else None
    hints = {"reviewer": "type the reviewer's name", "reason": "say why in a sentence", "decision": "use approve or reject"}
    return InputRefused(f"{field}: {first['msg']}; {hints.get(field or '', 'see the API description')}", field)
