"""How long data is kept: the section ``[retention]``, and what the law asks for at least."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from storage.settings import section

Days = Annotated[int, Field(ge=1, le=36_500)]


@section("retention")
class RetentionSettings(BaseModel):
    """The section ``[retention]``: after how many days data ends. Without a number it is kept for ever.

    Attributes
    ----------
    conversations_days : days since the last reply, judgment, rating or rewrite in a conversation; all of it ends, with what it taught the
        reward model
    decisions_days : days since a decision about a candidate was made and recorded; recorded groups end after as many days, once no
        conversation and no decision of the candidate is stored
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conversations_days: Days | None = None
    decisions_days: Days | None = None


class Minimum(NamedTuple):
    """What a rule asks for at least, of all that ``[retention]`` may end; docs/safety.md has the dates."""

    rule: str
    days: int
    words: str


MINIMA = (
    Minimum("the EU's AI Act, Art. 19 and 26(6)", 184, "six months"),
    Minimum("California's 2 CCR 11013(c)", 1461, "four years"),
)


def below_minimum(settings: RetentionSettings) -> str | None:
    """One line on the settings that keep data for a shorter time than some rule asks for; None if there are none."""
    found = "; ".join(_shortfalls(settings))
    return f"[retention] keeps less than some rules ask for: {found}. Check which of them hold for you (docs/safety.md)" if found else None


def _shortfalls(settings: RetentionSettings) -> Iterator[str]:
    for key, days in settings:
        asked = [f"{each.rule}, {each.words} ({each.days} days)" for each in MINIMA if days is not None and days < each.days]
        if asked:
            yield f"{key} is {days}, and less than {' and '.join(asked)}"
