"""Which source a client's events have: the header ``X-FeedbackLoop-Source`` marks those of the simulation."""

from typing import Literal, get_args

from fastapi import Request

from storage.errors import InputRefused

ClientSource = Literal["product", "simulation"]
SOURCES: tuple[ClientSource, ...] = get_args(ClientSource)
SOURCE_HEADER = "X-FeedbackLoop-Source"


def source_of(request: Request) -> ClientSource:
    """The source of the request's events; raises :class:`InputRefused` for another value of the header."""
    given = request.headers.get(SOURCE_HEADER, "product")
    for source in SOURCES:
        if given == source:
            return source
    raise InputRefused(f"{SOURCE_HEADER}: {given[:80]!r} is neither product nor simulation", SOURCE_HEADER)
