"""The table of pages, in the order of the navigation. A new page is a file beside this one and a row here."""

from dashboard.pages import audit_trail, chat, duel, fairness, my_data, overview, people, promotions, rate, reward, runs, votes
from dashboard.pages.page import Page

PAGES: tuple[Page, ...] = (
    overview.PAGE,
    rate.PAGE,
    chat.PAGE,
    votes.PAGE,
    reward.PAGE,
    runs.PAGE,
    promotions.PAGE,
    duel.PAGE,
    fairness.PAGE,
    people.PAGE,
    audit_trail.PAGE,
    my_data.PAGE,
)
