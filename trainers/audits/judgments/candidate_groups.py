"""Which group does a judged conversation's candidate belong to? As the company recorded it, else as the first name suggests.

A first name says how a reader may have seen the candidate, which is what a biased judgment depends on; it does not say who the
candidate is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from storage.events import Message
from trainers.audits.names import name_groups

Groups = Mapping[str, str]  # such as {"sex": "female"}

_CANDIDATE = re.compile(
    r"^\s*(?:candidate|applicant)(?:['’]s)?(?: name)?\s*:\s*(?:(?:mr|mrs|ms|miss|dr)\.?\s+)?([^\W\d_][\w'’-]*)", re.I | re.M
)


def candidate_groups(
    conversations: Iterable[tuple[str, Sequence[Message]]], recorded: Mapping[str, Groups], by_name: Mapping[str, Groups]
) -> dict[str, Groups]:
    """The groups of each conversation's candidate; a conversation without a known group is left out.

    Parameters
    ----------
    conversations : the id and a prompt of each
    recorded : groups that the company recorded, by conversation; where it recorded any, names are not used, whose groups may be labelled
        differently
    by_name : groups by first name, in lower case
    """
    found: dict[str, Groups] = {}
    for conversation, prompt in conversations:
        groups = recorded.get(conversation) if recorded else by_name.get((first_name(prompt) or "").lower())
        if groups:
            found[conversation] = groups
    return found


def first_name(prompt: Sequence[Message]) -> str | None:
    """The candidate's first name in a facts line "Candidate: …" of the system message; None where there is none."""
    for message in prompt:
        if message.role == "system" and (found := _CANDIDATE.search(message.content)):
            return found.group(1)
    return None


@cache
def groups_of_names() -> dict[str, Groups]:
    """Sex and race by first name, from the lists in ``names.toml``."""
    return {name.lower(): {"race_ethnicity": group.race, "sex": group.sex} for group in name_groups() for name in group.names}
