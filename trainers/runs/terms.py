"""The terms under which a version may become champion, frozen with its run's settings before anything is trained."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import ArtifactError
from storage.events import TrainingRequested, problems
from storage.settings import section
from trainers.audits.duel import DuelRule
from trainers.runs.frozen import FrozenSettings


@section("review")
class ReviewRule(BaseModel):
    """Who may approve a version.

    Attributes
    ----------
    four_eyes : whether the person who requested a run may not approve its version
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    four_eyes: bool = False


@dataclass(frozen=True)
class Terms:
    """What a version has to go through.

    Attributes
    ----------
    duel : the rule of its duel; None if an approved version becomes champion at once
    excluded : the person who may not approve it; None if anybody may
    settings : the hash of the frozen settings that say so
    """

    duel: DuelRule | None = None
    excluded: str | None = None
    settings: str | None = None


def terms_of(request: TrainingRequested, frozen: FrozenSettings | None) -> Terms:
    """The terms of a run's version; runs that were requested by versions before 0.3 have none.

    Raises
    ------
    ArtifactError
        The settings hold an unknown key or a wrong value.
    """
    if frozen is None or "duel" not in frozen.sections:
        return Terms()
    sections: dict[str, Any] = dict(frozen.sections)
    try:
        duel = DuelRule.model_validate(sections["duel"])
        review = ReviewRule.model_validate(sections.get("review", {}))
    except ValidationError as error:
        raise ArtifactError(f"settings of run {request.run_id}: {problems(error.errors(include_input=False))}") from error
    return Terms(duel if duel.required else None, request.requested_by if review.four_eyes else None, request.settings)
