"""Reads the limits that ``feedbackloop gates simulate --limits`` overrides."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from storage.errors import ConfigurationError
from storage.settings import Settings
from trainers.audits.content.conduct import ConductLimits
from trainers.audits.content.facts import FactsLimits
from trainers.audits.duel import DuelRule
from trainers.audits.policy.win_rate import WinRateLimits

# The keys that decide about a simulated challenger, by section: there are no model, sampling or clock in a simulation.
KEYS: Mapping[str, tuple[str, ...]] = {
    "evaluation": ("alpha", "prompts", "resamples"),
    "gates.win_rate": tuple(WinRateLimits.model_fields),
    "gates.facts": tuple(FactsLimits.model_fields),
    "gates.conduct": tuple(ConductLimits.model_fields),
    "duel": tuple(key for key in DuelRule.model_fields if key != "expires_days"),
}


def with_limits(settings: Settings, words: Iterable[str]) -> Settings:
    """``settings`` with limits such as ``duel.alpha=0.01`` in place of its own; one word may hold several, separated by spaces.

    Raises
    ------
    ConfigurationError
        A word is no limit, or names a section or key that decides nothing here; it says which there are.
    """
    gates: dict[str, Any] = dict(settings.sections.get("gates", {}))
    over: dict[str, dict[str, Any]] = {}
    origins: dict[tuple[str, str], str] = {}  # for errors about values: by section and key, or by "gates" and gate
    for section, key, value in (_parsed(word) for each in words for word in each.split()):
        top, _, gate = section.partition(".")
        if gate:
            gates[gate] = {**gates.get(gate, {}), key: value}
            over["gates"] = gates
        else:
            over.setdefault(top, {})[key] = value
        origins[top, gate or key] = f"--limits {top}.{gate or key}"
    changed = settings.with_values(**over)
    return replace(changed, variables={**changed.variables, **origins})


def _parsed(word: str) -> tuple[str, str, Any]:
    """Section, key and value."""
    name, equals, text = word.partition("=")
    section, _, key = name.rpartition(".")
    if not equals or not section or not text:
        raise ConfigurationError(f"--limits {word}: write it like duel.alpha=0.01 or gates.win_rate.least=0.6")
    if section not in KEYS:
        raise ConfigurationError(f"--limits {name}: no limits of [{section}] are simulated; the sections are {', '.join(KEYS)}")
    if key not in KEYS[section]:
        raise ConfigurationError(f"--limits {name}: [{section}] has no such limit; its keys are {', '.join(KEYS[section])}")
    try:
        return section, key, json.loads(text)
    except json.JSONDecodeError:
        raise ConfigurationError(f"--limits {word}: {text} is neither a number nor a list such as [0.1,0.3]") from None
