"""Cheap surface statistics of a reply, which a sentence encoder barely captures and policy optimisation would exploit.

They are part of every feature vector next to the embeddings, so a head can learn that repetition, parroted prompts or shouting are bad.
"""

import hashlib
import re
from itertools import pairwise

import numpy as np

GUARDS = (
    "log_length",  # log(1 + words)
    "repetition",  # share of word pairs that occurred before in the reply
    "overlap",  # share of the reply's distinct word pairs that occur in the prompt
    "questions",  # log(1 + question marks)
    "exclamations",  # log(1 + exclamation marks)
    "digits",  # share of words with a digit
    "lines",  # log(1 + line breaks)
    "capitals",  # share of capitals among the letters
)
# Lower bounds on the standard deviations of within-prompt differences, so a guard that is constant in the fitted texts is not blown up.
FLOOR = np.array([0.25, 0.05, 0.05, 0.3, 0.3, 0.05, 0.3, 0.05])

_WORD = re.compile(r"\w+")


def guards(prompt: str, reply: str) -> np.ndarray:
    """The eight guards in the order of :data:`GUARDS`, shape ``(8,)``."""
    words = _WORD.findall(reply.lower())
    pairs = list(pairwise(words))
    distinct = set(pairs)
    prompt_pairs = set(pairwise(_WORD.findall(prompt.lower())))
    letters = sum(map(str.isalpha, reply))
    return np.array(
        [
            np.log1p(len(words)),
            1 - len(distinct) / len(pairs) if pairs else 0.0,
            len(distinct & prompt_pairs) / len(distinct) if distinct else 0.0,
            np.log1p(reply.count("?")),
            np.log1p(reply.count("!")),
            sum(any(map(str.isdigit, word)) for word in words) / len(words) if words else 0.0,
            np.log1p(reply.count("\n")),
            sum(map(str.isupper, reply)) / letters if letters else 0.0,
        ]
    )


def fingerprint(reply: str) -> float:
    """A number in [-1, 1) derived from the text's hash.

    The encoder's tokenizer drops case, accents, spacing and unknown characters. Scaled to a thousandth of a feature, this distinguishes
    texts that differ in nothing else, and is far too small to learn from.
    """
    return int.from_bytes(hashlib.sha256(reply.encode("utf-8", "surrogatepass")).digest()[:3], "big") / 2**23 - 1
