"""Sanitise untrusted text, and text with paths of this machine, for log lines, pages and clients."""

import re
import unicodedata

MAX_LOGGED = 300  # characters of untrusted text in a log line

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format (including bidirectional), surrogate, line and paragraph separator

_QUOTED_PATH = re.compile(r"""(?P<quote>['"“‘`])(?:(?:file|sqlite):/+|/)(?:[^'"”’`/\n]+/+)+(?P<last>[^'"”’`/\n]*)(?=['"”’`])""")
_PATH = re.compile(r"(?<![\w/.:~%-])(?:(?:file|sqlite):/{2,})?/?(?<=/)(?:[^\s/'\"<>|:;,()]+/+)+(?P<last>[^\s/'\"<>|:;,()]*)")


def visible(text: str, *, keep: str = "") -> str:
    """Replace each invisible character by its escape (``\\u202e``), except those in ``keep``."""
    return "".join(_escaped(each) if unicodedata.category(each) in INVISIBLE and each not in keep else each for each in text)


def one_line(text: str) -> str:
    """Escape and truncate the text for a log line: no line breaks, terminal control sequences or bidirectional overrides."""
    return visible(text if len(text) <= MAX_LOGGED else f"{text[:MAX_LOGGED]}…")


def first_invisible(text: str) -> str | None:
    """The code point (``U+202E``) of the first invisible character, or None."""
    found = next((each for each in text if unicodedata.category(each) in INVISIBLE), None)
    return None if found is None else f"U+{ord(found):04X}"


def without_paths(text: str) -> str:
    """Shorten each absolute path to its last component, so that clients do not learn the server's directory layout.

    Only for messages about the server's own files: URL paths of the API look like file paths.
    """
    text = _QUOTED_PATH.sub(lambda found: found["quote"] + found["last"], text)
    return _PATH.sub(lambda found: found["last"], text)


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
