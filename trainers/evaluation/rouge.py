"""ROUGE-L with equal weight of precision and recall (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1).

``rouge-score`` has had no release since 2022 and brings a tokenizer library that nothing else here needs.
"""

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


def rouge_l(reply: str, references: Sequence[str]) -> float:
    """The F-measure of the longest common subsequence of words, in lower case without punctuation; of several references the best.

    Returns
    -------
    float
        Between 0 and 1; 0 where a text has no words.
    """
    ours = _words(reply)
    return max((_f_measure(ours, _words(reference)) for reference in references), default=0.0)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _f_measure(ours: Sequence[str], reference: Sequence[str]) -> float:
    if not ours or not reference:
        return 0.0
    return 2 * longest_common_subsequence(ours, reference) / (len(ours) + len(reference))


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest sequence that both hold in this order, gaps allowed."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for j, match in enumerate(other, 1):
            diagonal, row[j] = row[j], diagonal + 1 if word == match else max(row[j], row[j - 1])
    return row[-1]
