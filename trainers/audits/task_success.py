"""Does a reply take up what was asked: a free slot, the stage, the documents, the start, the days at home, from the prompt's facts?"""

import re
from collections.abc import Sequence

from storage.events import Message
from trainers.audits.facts import facts_of

_TOPIC = re.compile(r"asked about|topic|subject|intent", re.I)
# what the topic, or else the question, is about; the key of the fact that answers it
_TASKS = (
    (re.compile(r"\b(interview|slot|appointment|book|meet)", re.I), re.compile(r"\b(slots?|times?)\b", re.I)),
    (re.compile(r"\b(document|paper|file)", re.I), re.compile(r"\b(documents?|papers?)\b", re.I)),
    (re.compile(r"\b(start|begin)", re.I), re.compile(r"\bstarts?\b", re.I)),
    (re.compile(r"\b(home|remote)\b", re.I), re.compile(r"\bremote\b", re.I)),
    (re.compile(r"\b(status|stage|state|news|application)\b", re.I), re.compile(r"\bstage\b", re.I)),
)
_SLOT = re.compile(r"\b([A-Z][a-z]+day),?(?: at)? (\d{1,2}[:.]\d\d)\b")


def succeeded(prompt: Sequence[Message], reply: str) -> bool | None:
    """Whether the reply answers the prompt's task from its facts; None where the facts hold no answer to what was asked.

    A booking needs exactly one of the free slots and no other; documents need all of them; any other task the value itself.
    """
    facts = facts_of(prompt)
    asked = next((value for key, value in facts.items() if _TOPIC.search(key)), None)
    if asked is None:
        asked = next((message.content for message in reversed(prompt) if message.role == "user"), "")
    for topic, wanted in _TASKS:
        value = next((value for key, value in facts.items() if wanted.search(key)), None)
        if value is not None and topic.search(asked):
            return _answers(value, reply)
    return None


def _answers(value: str, reply: str) -> bool:
    free = _slots(value)
    if free:
        offered = _slots(reply)
        return len(offered) == 1 and offered <= free
    parts = [re.sub(r"^(?:in|by|on) ", "", part.strip(" .")) for part in re.split(r"[;,]|\band\b", value)]
    return all(re.search(rf"(?<!\w){re.escape(part)}(?!\w)", reply, re.I) for part in parts if part)


def _slots(text: str) -> set[str]:
    return {f"{day} {hour.replace('.', ':')}" for day, hour in _SLOT.findall(text)}
