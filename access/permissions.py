"""The permissions: what a caller may do, and what a route, page or action needs."""

from typing import Literal, get_args

Permission = Literal["chat", "feedback", "review", "read", "export", "admin"]
EVERYTHING: frozenset[Permission] = frozenset(get_args(Permission))
