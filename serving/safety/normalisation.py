"""Undoes what hides words from rules: compatibility characters, invisible characters, letters of other scripts in Latin words."""

import re
import unicodedata

# Cyrillic and Greek letters that look like Latin ones
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһԛԝкмтвнАВЕКМНОРСТУХІЈЅαορνιτκυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeopcyxijsdhqwkmtbhABEKMHOPCTYXIJSaopvitkuABEZHIKMNOPTYX"
)
_WORD = re.compile(r"\w+")
_LATIN, _OTHER = re.compile("[A-Za-z]"), re.compile("[\u0370-\u052f]")


def normalised(text: str) -> str:
    """Without invisible characters, in compatibility form (NFKC), and with look-alikes in Latin words replaced."""
    plain = without_invisible(unicodedata.normalize("NFKC", text))
    return _WORD.sub(_as_latin, plain) if _OTHER.search(plain) else plain


def _as_latin(word: re.Match[str]) -> str:
    """A word of Latin and other letters with the others replaced; words of one script stay."""
    written = word.group()
    return written.translate(_LOOK_ALIKES) if _LATIN.search(written) and _OTHER.search(written) else written


def without_invisible(text: str) -> str:
    """Without format characters (zero-width, bidirectional, tags), variation selectors, and controls other than line breaks and tabs."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each for each in text if each in "\n\t" or not _is_invisible(each))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cf", "Cc", "Cs", "Co") or is_variation_selector(character)


def is_variation_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
