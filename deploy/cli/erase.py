"""``feedbackloop erase``: the hub erases a person; here one asks and waits."""

import time
from collections.abc import Callable
from typing import Any

from deploy.cli.client import post
from storage.errors import ConfigurationError, FeedbackLoopError
from storage.events import Erasable
from storage.settings import Settings

PATIENCE = 600.0  # seconds


def one_of(candidate: str | None, recruiter: str | None, conversation: str | None) -> tuple[Erasable, str]:
    """What was named.

    Raises
    ------
    ConfigurationError
        Nothing, or more than one of them.
    """
    named: dict[Erasable, str | None] = {"candidate": candidate, "recruiter": recruiter, "conversation": conversation}
    asked = [(what, name) for what, name in named.items() if name is not None]
    if len(asked) != 1:
        raise ConfigurationError("say whom to erase: one of --candidate, --recruiter and --conversation")
    return asked[0]


def erase(settings: Settings, what: Erasable, name: str, ask: Callable[..., dict[str, Any]] = post) -> dict[str, Any]:
    """Ask the hub until rows and keys are gone.

    Raises
    ------
    FeedbackLoopError
        They are not after ``PATIENCE`` seconds.
    """
    deadline = time.monotonic() + PATIENCE
    while not (found := ask(settings, "/v1/erasures", {"what": what, "name": name}))["done"]:
        if time.monotonic() > deadline:
            raise FeedbackLoopError("the erasure is on the log, but the hub has not finished it; look at its log, then ask again")
    return found


def told(found: dict[str, Any]) -> list[str]:
    """The report in words."""
    lines = [
        f"{found['what']} {found['name']} is erased: rows are deleted and the keys of their texts destroyed",
        f"erased so far, by request or by time: {found['conversations']} conversations, {found['replies']} replies, {found['pairs']} pairs",
    ]
    if found["preferences"]:
        lines.append(f"{found['preferences']} preferences are out of the reward; its last trace goes at entry {found['forgotten_at']}")
    for each in found["versions"]:
        lines.append(f"{each['version'] or 'no version'} (run {each['run_id']}) was trained on {each['rows']} rows that are erased")
    if minutes := found["keys_linger"] // 60:
        lines.append(f"Kafka's brokers compact the destroyed keys away, which are wrapped, within {minutes} minutes while the hub runs")
    if found["plain"]:
        lines.append(f"NOT erased: {found['plain']} entries that should be, logged before texts were sealed, are on the log in plain text")
    return lines
