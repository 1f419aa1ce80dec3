"""Calls for the elements of ``/widget.js`` in the product's pages."""

from uuid import UUID

from feedbackloop.calls.call import Call, post
from feedbackloop.receipts import WidgetToken


def widget_token(recruiter: str, origin: str, *, pair_id: UUID | str | None = None) -> Call[WidgetToken]:
    """Have a token made with which ``recruiter`` judges in pages of ``origin``, for a quarter of an hour.

    ``origin`` is one of the server's ``[access] widget_origins``, such as ``https://ats.example.com``. With ``pair_id`` the token is for
    that pair only.
    """
    return post("/v1/widget-tokens", {"recruiter": recruiter, "origin": origin, "pair_id": pair_id}, WidgetToken.model_validate)
