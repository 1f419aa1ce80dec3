"""Vote integrity: which judgments are odd, and whose."""

from typing import Any

from dash import Dash, Input, Output, html

from dashboard.pages import words
from dashboard.pages.page import Page, Parts
from dashboard.pages.shell import empty, heading, table_card
from dashboard.status.integrity import Integrity, OddVote
from streams.integrity import BURST, BURST_SECONDS, Flag, Unchecked

LEAD = "Judgments by people that look odd. They count like all others: what follows is for you to decide."
FLAGS: dict[Flag, str] = {
    "author": "wrote one of the responses",
    "burst": f"{BURST} judgments within {BURST_SECONDS:g} seconds",
    "same side": "always the response on the same side",
}
UNCHECKED: dict[Unchecked, str] = {
    "pair unknown": "the pair has not arrived",
    "order unknown": "nobody said which response was shown first",
}


def layout(_rest: str) -> Any:
    return [heading("Votes", LEAD), html.Div(id="votes", className="stack")]


def register(app: Dash, parts: Parts) -> None:
    @app.callback(Output("votes", "children"), Input("votes", "id"))
    def shown(_id: str) -> Any:
        return cards(parts.integrity())


def cards(found: Integrity) -> Any:
    if not found.checked:
        return empty("Nobody has judged yet", "Judgments by simulated recruiters are not checked.", "votes")
    rows = [
        [html.Code(each.recruiter), *(words.count(n) for n in (each.fine + each.flagged + each.unchecked, each.flagged, each.unchecked))]
        for each in found.recruiters
    ]
    said = f"The newest {words.plural(found.checked, 'judgment')}. A judgment is unchecked where a check lacks what it needs."
    return [
        table_card("By recruiter", ("Recruiter", "Judgments", "Flagged", "Unchecked"), rows, said),
        table_card("Odd ones, flagged first", ("When", "Recruiter", "Pair", "What"), [_row(each) for each in found.odd])
        if found.odd
        else html.Section([html.H2("Odd ones"), html.P("None.", className="hint")], className="card"),
    ]


def _row(vote: OddVote) -> list[Any]:
    said = [*(FLAGS[each] for each in vote.flags), *(f"not checked: {UNCHECKED[each]}" for each in vote.unchecked)]
    return [words.clock(vote.occurred_at), html.Code(vote.recruiter), html.Code(vote.pair_id), "; ".join(said)]


PAGE = Page("/votes", "Votes", "votes", layout, register)
