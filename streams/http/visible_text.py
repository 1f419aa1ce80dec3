"""Text that came from outside, or that names this machine's files, made fit for a log line, a page or a client."""

import re
import unicodedata

LOGGED = 300  # characters of a text from outside that go into a log line

INVISIBLE = frozenset(
    {"Cc", "Cf", "Cs", "Zl", "Zp"}
)  # control, format (bidirectional ones among them), surrogate, line and paragraph separator

_QUOTED_PATH = re.compile(r"""(?P<quote>['"“‘`])(?:(?:file|sqlite):/+|/)(?:[^'"”’`/\n]+/+)+(?P<last>[^'"”’`/\n]*)(?=['"”’`])""")
_PATH = re.compile(r"(?<![\w/.:~%-])(?:(?:file|sqlite):/{2,})?/?(?<=/)(?:[^\s/'\"<>|:;,()]+/+)+(?P<last>[^\s/'\"<>|:;,()]*)")


def visible(text: str, *, keep: str = "") -> str:
    """The text with each character that cannot be seen written as its escape (``\\u202e``), except those in ``keep``."""
    return "".join(_escaped(each) if unicodedata.category(each) in INVISIBLE and each not in keep else each for each in text)


def one_line(text: str) -> str:
    """The text as one bounded log line: nothing in it can end the line, move the cursor or reverse what follows."""
    return visible(text if len(text) <= LOGGED else f"{text[:LOGGED]}…")


def first_invisible(text: str) -> str | None:
    """The code point (``U+202E``) of the first character that cannot be seen, or None."""
    found = next((each for each in text if unicodedata.category(each) in INVISIBLE), None)
    return None if found is None else f"U+{ord(found):04X}"


def without_paths(text: str) -> str:
    """The text with each absolute path shortened to its last part: a client learns which file, not where the server keeps it.

    Only for messages about the server's own files. Addresses of the API look like paths, and a message that names one is left alone.
    """
    text = _QUOTED_PATH.sub(lambda found: found["quote"] + found["last"], text)
    return _PATH.sub(lambda found: found["last"], text)


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
