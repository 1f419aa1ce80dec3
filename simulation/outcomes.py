"""What a company would record of a simulated candidate: the group, and the decision where one has been made.

The attribute is ``name_group``, the group of the name in this world's lists: it stands for nobody's sex or race. The decision is
independent of the group by construction, so the true impact ratio is one.
"""

import re
from typing import Any

from simulation.phrases import phrases
from simulation.world import Conversation

ATTRIBUTE = "name_group"
STAGE = "application"


def recorded(conversation: Conversation) -> dict[str, Any]:
    """The body of ``POST /v1/outcomes``; without an outcome while the application is open."""
    record, stages = conversation.records[0], phrases()["stages"]
    body: dict[str, Any] = {"candidate": conversation.candidate, "groups": {ATTRIBUTE: record.group}}
    if record.stage in (*stages["offered"], *stages["rejected"]):
        body["outcome"] = {
            "outcome_id": conversation.conversation_id,
            "position": re.sub(r"[^a-z0-9]+", "-", record.role.lower()).strip("-"),
            "stage": STAGE,
            "selected": record.stage in stages["offered"],
        }
    return body
