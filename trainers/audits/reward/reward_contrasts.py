"""Contrasts of a reward between names of different races and sexes, with as many names as equivalence needs."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from storage.events import Message
from trainers.audits.reward.name_contrast import Contrast, Probes
from trainers.audits.reward.reward_probes import Item, Score
from trainers.audits.statistics.intervals import Interval
from trainers.audits.statistics.multiplicity import holm

CONFIDENCE = 0.90
POWER = 0.8
FAMILY_ALPHA = 0.05
WITHIN = 0.1  # standard deviations, the limit that the number of names is planned for
PILOT = 5  # names of each race and sex, from whose spread the number is computed

Cell = tuple[str, str]  # race and sex
Values = dict[Cell, dict[str, np.ndarray]]


class _Comparison(NamedTuple):
    group: str
    reference: str
    coefficients: Mapping[Cell, float]


class _Estimate(NamedTuple):
    figure: float
    error: float
    freedom: float


def name_contrasts(score: Score, spread: float, probes: Probes, *, most: int | None = None) -> list[Contrast]:
    """The contrast of every attribute for every race against the reference race, and for women's names against men's.

    A few names of each race and sex are scored first; their spread says how many are needed, and those are scored too, as far as the lists
    go.

    Parameters
    ----------
    score : rewards of (prompt, reply) items, ``(n,)``
    spread : standard deviation of the reward's differences between judged replies
    most : names of each race and sex at most; by default all
    """
    listed = {(group.race, group.sex): group.names for group in probes.groups}
    available = min(len(names) for names in listed.values())
    limit = available if most is None else min(most, available)
    order = {cell: [names[i] for i in _spread_out(len(names))] for cell, names in listed.items()}
    count = min(PILOT, limit)
    values = _values(score, spread, probes, {cell: names[:count] for cell, names in order.items()})
    comparisons = _comparisons(probes.reference, list(listed))
    needed = [_needed(values, comparison, attribute) for comparison in comparisons for attribute in probes.attributes]
    total = min(limit, max(needed, default=count))
    if total > count:
        more = _values(score, spread, probes, {cell: names[count:total] for cell, names in order.items()})
        values = {cell: {name: np.append(values[cell][name], more[cell][name]) for name in probes.attributes} for cell in values}
    return _tested(values, comparisons, list(probes.attributes))


def _values(score: Score, spread: float, probes: Probes, names: Mapping[Cell, Sequence[str]]) -> Values:
    """By race and sex and by attribute, each name's mean reward for the attribute, ``(names,)``, in standard deviations."""
    # each variant with every second prompt: covers all prompts and variants with half the embeddings
    pairs = {
        attribute: [(asked, pair) for v, pair in enumerate(variants) for p, asked in enumerate(probes.prompts) if (p + v) % 2 == 0]
        for attribute, variants in probes.attributes.items()
    }
    items: list[Item] = [
        (_prompt(asked, name), text.format(name=name))
        for of_cell in names.values()
        for name in of_cell
        for of_attribute in pairs.values()
        for asked, pair in of_attribute
        for text in pair
    ]
    rewards = np.asarray(score(items), float).reshape(-1, 2)
    differences = iter((rewards[:, 0] - rewards[:, 1]) / (spread or 1.0))
    found: Values = {cell: {attribute: np.empty(len(of_cell)) for attribute in pairs} for cell, of_cell in names.items()}
    for cell, of_cell in names.items():
        for i in range(len(of_cell)):
            for attribute, of_attribute in pairs.items():
                found[cell][attribute][i] = np.mean([next(differences) for _ in of_attribute])
    return found


def _comparisons(reference: str, cells: Sequence[Cell]) -> list[_Comparison]:
    """Race against race within each sex, and sex against sex within each race, averaged."""
    races, sexes = list(dict.fromkeys(race for race, _ in cells)), list(dict.fromkeys(sex for _, sex in cells))
    found = [
        _Comparison(race, reference, {(r, sex): (1 if r == race else -1) / len(sexes) for r in (race, reference) for sex in sexes})
        for race in races
        if race != reference
    ]
    if len(sexes) == 2:
        first, second = sexes
        weights = {(race, sex): (1 if sex == first else -1) / len(races) for race in races for sex in sexes}
        found.append(_Comparison(first, second, weights))
    return found


def _estimate(values: Values, comparison: _Comparison, attribute: str) -> _Estimate:
    """A weighted sum of means of independent samples, with Satterthwaite's (1946) degrees of freedom."""
    figure, parts = 0.0, []
    for cell, weight in comparison.coefficients.items():
        sample = values[cell][attribute]
        figure += weight * float(sample.mean())
        if len(sample) < 2:
            return _Estimate(figure, math.inf, 1.0)
        parts.append((weight**2 * float(sample.var(ddof=1)) / len(sample), len(sample) - 1))
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / df for part, df in parts) if variance > 0 else float(sum(df for _, df in parts))
    return _Estimate(figure, math.sqrt(variance), freedom)


def _needed(values: Values, comparison: _Comparison, attribute: str) -> int:
    """Names of each race and sex for two one-sided tests at 5% to show equivalence with a chance of 80% where the difference is 0.

    n = (z_.95 + z_.90)² σ² / δ², with σ² the variance of the contrast at one name of each (Chow, Shao and Wang, 2008, section 3.2).
    """
    from scipy.stats import norm

    found = _estimate(values, comparison, attribute)
    if not math.isfinite(found.error):
        return PILOT
    names = len(next(iter(values.values()))[attribute])
    reach = float(norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf((1 + POWER) / 2))
    return max(2, math.ceil(reach**2 * found.error**2 * names / WITHIN**2))


def _tested(values: Values, comparisons: Sequence[_Comparison], attributes: Sequence[str]) -> list[Contrast]:
    from scipy.stats import t

    keys = [(comparison, attribute) for comparison in comparisons for attribute in attributes]
    estimates = [_estimate(values, *key) for key in keys]
    exact = [0.0 if each.figure else 1.0 for each in estimates]  # all names alike: a difference is certain
    p = [
        float(2 * t.sf(abs(each.figure) / each.error, each.freedom)) if each.error > 0 else sure
        for each, sure in zip(estimates, exact, strict=True)
    ]
    found = []
    for (comparison, attribute), each, adjusted in zip(keys, estimates, holm(p), strict=True):
        half = float(t.ppf((1 + CONFIDENCE) / 2, each.freedom)) * each.error
        reach = float(t.ppf(1 - FAMILY_ALPHA / (2 * len(keys)), each.freedom) + t.ppf(POWER, each.freedom))
        sides = [sum(len(values[cell][attribute]) for cell, w in comparison.coefficients.items() if w * sign > 0) for sign in (1, -1)]
        found.append(
            Contrast(
                attribute=attribute,
                group=comparison.group,
                reference=comparison.reference,
                interval=Interval(figure=each.figure, low=each.figure - half, high=each.figure + half, n=min(sides)),
                p_holm=adjusted,
                detectable=reach * each.error,
                needed=_needed(values, comparison, attribute),
            )
        )
    return found


def _spread_out(n: int) -> list[int]:
    """All positions of a list, those spread over it first, so that a few stand for the whole."""
    first = np.linspace(0, n - 1, min(PILOT, n)).round().astype(int).tolist()
    return [*first, *(i for i in range(n) if i not in first)]


def _prompt(texts: tuple[str, str], name: str) -> tuple[Message, ...]:
    facts, question = texts
    return Message(role="system", content=facts.format(name=name)), Message(role="user", content=question.format(name=name))
