"""How long the properties are tried: briefly by default, with 500 examples each where ``NIGHTLY`` is set (``make nightly``)."""

import os

NIGHTLY = bool(os.environ.get("NIGHTLY"))


def examples(usual: int) -> int:
    """The number of examples of a property that usually takes so many."""
    return max(usual, 500) if NIGHTLY else usual
