"""The route by which a product's server has widget tokens made."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from access.caller import caller_of, intake_of, needs
from access.control import AccessControl
from access.widget.tokens import LIFETIME, REMOVED
from storage.errors import InputRefused, NotAllowed
from streams.http.fields import GivenName, WebOrigin
from streams.http.visible_text import one_line
from streams.intake import Intake


class Asked(BaseModel):
    """For whom, for pages of which origin, and for which pair if it is to be for one only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    recruiter: GivenName
    origin: WebOrigin
    pair_id: Annotated[UUID, Field(strict=False)] | None = None


class WidgetToken(BaseModel):
    """What the page needs: ``token-src`` answers with it. ``expires_in`` is in seconds."""

    model_config = ConfigDict(frozen=True)

    token: str
    recruiter: str
    expires_in: int


class RecruiterRemoved(NotAllowed):
    """The recruiter was removed from the people of the hub."""

    code = REMOVED


def token_router(intake: Intake, access: AccessControl) -> APIRouter:
    """``POST /widget-tokens``."""
    router = APIRouter(dependencies=[needs("feedback")])

    @router.post("/widget-tokens")
    def widget_token(request: Request, body: Asked) -> WidgetToken:
        """Make a token with which a recruiter's browser judges in pages of another origin, for a quarter of an hour."""
        caller = caller_of(request)
        if caller.kind not in ("open", "key"):
            raise NotAllowed("widget tokens are made with an API key, with which they end")
        if body.origin.lower() not in access.tokens.origins:
            raise InputRefused(f"origin: {one_line(body.origin)} is not in [access] widget_origins", "origin")
        pseudonym = intake_of(intake, request).pseudonym("recruiter", body.recruiter)
        if access.state is not None and access.state.is_removed(pseudonym):
            raise RecruiterRemoved(
                f"recruiter: {one_line(body.recruiter)} was removed from the people of the hub; add them again, or show no element"
            )
        token = access.tokens.made(pseudonym, body.origin, caller.key_id, body.pair_id)
        return WidgetToken(token=token, recruiter=body.recruiter, expires_in=int(LIFETIME.total_seconds()))

    return router
