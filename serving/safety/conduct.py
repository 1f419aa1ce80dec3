"""Filter ``conduct``: unlawful questions, promises of employment and unlawful preferences, by the rules of the conduct audit."""

import re

from trainers.audits.content.conduct_rules import improper

_ABBREVIATION = re.compile(r"\b(Mr|Mrs|Ms|Mx|Dr|Prof|No|approx)\.")  # a full stop would end the sentence for the rules


def findings(text: str) -> list[str]:
    """``question.TOPIC``, ``promise`` or ``preference`` for each improper sentence."""
    line = _ABBREVIATION.sub(r"\1", " ".join(text.split()))
    return [f"question.{each.topic.replace(' ', '_')}" if each.kind == "question" else each.kind for each in improper(line)]
