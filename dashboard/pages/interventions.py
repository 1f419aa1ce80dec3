"""The card of the overview that counts what safety filters did and where personal data was redacted."""

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboard.pages import words
from dashboard.pages.shell import table
from dashboard.status.models import Intervened

# by filter: what is counted; a filter without an entry is shown by its name
COUNTED = {
    "conduct": "Unlawful questions, promises and preferences in replies",
    "insults": "Insults in replies",
    "injection": "Candidates’ messages with instructions to the model",
    "moderation": "Texts that the moderation endpoint objected to, or could not check",
    "personal_data": "Personal data in texts to be logged",
}
# by action: what was done about it
DONE = {"flag": "recorded only", "replace": "left out or quoted", "block": "reply replaced", "redact": "redacted"}


def interventions(counted: Sequence[Intervened]) -> Any:
    """A row for each filter and action that occurred."""
    rows = [(f"{COUNTED.get(each.filter, each.filter)}: {DONE.get(each.action, each.action)}", words.count(each.n)) for each in counted]
    return [
        html.H2("Safety"),
        html.P("What filters did before and after the model, since the first conversation.", className="hint"),
        table(rows) if rows else html.P("No intervention yet."),
    ]
