"""Cheap facts about a reply's surface, which a sentence encoder hardly sees and a reward that is optimised against would forget.

They stand beside the embeddings in every feature vector: a head can learn that repeated text, parroted prompts or shouting are bad.
"""

import hashlib
import re
from itertools import pairwise

import numpy as np

GUARDS = (
    "log_length",  # log(1 + words)
    "repetition",  # share of word pairs that occurred before in the reply
    "overlap",  # share of the reply's distinct word pairs that stand in the prompt
    "questions",  # log(1 + question marks)
    "exclamations",  # log(1 + exclamation marks)
    "digits",  # share of words with a digit
    "lines",  # log(1 + line breaks)
    "capitals",  # share of capitals among the letters
)
# Least standard deviations of within-prompt differences, so that a guard that never varies in the fitted texts is not blown up elsewhere.
FLOOR = np.array([0.25, 0.05, 0.05, 0.3, 0.3, 0.05, 0.3, 0.05])

_WORD = re.compile(r"\w+")


def guards(prompt: str, reply: str) -> np.ndarray:
    """The eight figures named in :data:`GUARDS`, shape ``(8,)``."""
    words = _WORD.findall(reply.lower())
    pairs = list(pairwise(words))
    distinct = set(pairs)
    said = set(pairwise(_WORD.findall(prompt.lower())))
    letters = sum(map(str.isalpha, reply))
    return np.array(
        [
            np.log1p(len(words)),
            1 - len(distinct) / len(pairs) if pairs else 0.0,
            len(distinct & said) / len(distinct) if distinct else 0.0,
            np.log1p(reply.count("?")),
            np.log1p(reply.count("!")),
            sum(any(map(str.isdigit, word)) for word in words) / len(words) if words else 0.0,
            np.log1p(reply.count("\n")),
            sum(map(str.isupper, reply)) / letters if letters else 0.0,
        ]
    )


def fingerprint(reply: str) -> float:
    """A number in [-1, 1) by the text's hash.

    The encoder's tokenizer drops case, accents, spacing and signs it does not know. At a thousandth of the size of a feature this keeps
    texts apart that differ in nothing else, and is far too small to be learnt from.
    """
    return int.from_bytes(hashlib.sha256(reply.encode("utf-8", "surrogatepass")).digest()[:3], "big") / 2**23 - 1
