"""Calls of the hub."""

from typing import Any

from feedbackloop.calls.call import Call, get


def status() -> Call[dict[str, Any]]:
    """Event counts per stage, reward model, retraining threshold and champion, as shown on the hub's overview page."""
    return get("/v1/status", dict, server="hub")


def runs() -> Call[list[dict[str, Any]]]:
    """The training runs, newest first."""
    return get("/v1/runs", lambda answer: list(answer["runs"]), server="hub")


def versions() -> Call[dict[str, Any]]:
    """The model versions with their gates and reviews, and the champion."""
    return get("/v1/versions", dict, server="hub")
