"""The permissions: what a caller may do, and what a route, page or action needs. ``me`` is to see what is kept about oneself."""

from typing import Literal, get_args

Permission = Literal["chat", "feedback", "review", "read", "export", "admin", "me"]
EVERYTHING: frozenset[Permission] = frozenset(get_args(Permission))
