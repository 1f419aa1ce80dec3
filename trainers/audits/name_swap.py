"""Would the reward value the same reply otherwise if the candidate had another name?

A reward is known only up to a function of the prompt, so nothing is compared across prompts: for two replies that differ in one attribute,
their difference of reward under a name of one group minus the same under a name of another. Probes and names stand in ``probes.toml`` and
``names.toml``; the reward judged is the head that learnt from the training stratum, which is what ranks replies and chooses pairs.
"""

import itertools
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from storage.events import Message
from trainers.audits.intervals import Interval, mean_interval

Features = Callable[[Sequence[tuple[Sequence[Message], str]]], np.ndarray]
CONFIDENCE = 0.90


@dataclass(frozen=True)
class Contrast:
    """How much more a reward cares for an attribute under the names of ``group`` than under those of ``reference``.

    ``interval`` is in standard deviations of the reward's differences between judged replies, at 90 % over pairs of names.
    """

    attribute: str
    group: str
    reference: str
    interval: Interval


@dataclass(frozen=True)
class Probes:
    """Names by group, prompts as (facts, question), and by attribute the replies with and without it; ``{name}`` is to be filled."""

    reference: str
    groups: dict[str, tuple[str, ...]]
    prompts: tuple[tuple[str, str], ...]
    attributes: dict[str, tuple[tuple[str, str], ...]]


def read_probes() -> Probes:
    """The probes that come with the distribution."""
    names = tomllib.loads(files("trainers.audits").joinpath("names.toml").read_text(encoding="utf-8"))
    probes = tomllib.loads(files("trainers.audits").joinpath("probes.toml").read_text(encoding="utf-8"))
    return Probes(
        reference=names["reference"],
        groups={group: tuple(listed) for group, listed in names["groups"].items()},
        prompts=tuple((prompt["facts"].strip(), prompt["question"]) for prompt in probes["prompts"]),
        attributes={name: tuple((pair["with"], pair["without"]) for pair in pairs) for name, pairs in probes["attributes"].items()},
    )


def name_contrasts(features: Features, weights: np.ndarray, scale: float, probes: Probes, *, names: int | None = None) -> list[Contrast]:
    """The contrast of every attribute for every group against the reference group.

    Parameters
    ----------
    features : the embedding, ``(prompt, reply)`` pairs to ``(n, d)``
    weights : the reward head's, ``(d,)``
    scale : standard deviation of the head's reward differences between judged replies
    names : how many names of each group to use, from both halves of the list; all where absent
    """
    listed = {group: _spread(of_group, names) for group, of_group in probes.groups.items()}
    keys = [
        (group, index, attribute, variant, prompt)
        for group, of_group in listed.items()
        for index in range(len(of_group))
        for attribute, variants in probes.attributes.items()
        for variant in range(len(variants))
        for prompt in range(len(probes.prompts))
        # each variant with every second prompt: all prompts and all variants occur, at half the embeddings
        if (prompt + variant) % 2 == 0
    ]
    items: list[tuple[tuple[Message, ...], str]] = []
    for group, index, attribute, variant, prompt in keys:
        name = listed[group][index]
        asked = _prompt(probes.prompts[prompt], name)
        items += [(asked, text.format(name=name)) for text in probes.attributes[attribute][variant]]
    rewards = features(items).astype(float) @ weights
    value = dict(zip(keys, (rewards[0::2] - rewards[1::2]) / (scale or 1.0), strict=True))
    found = []
    for group, attribute in itertools.product((g for g in listed if g != probes.reference), probes.attributes):
        pairs = min(len(listed[group]), len(listed[probes.reference]))
        cells = sorted({key[3:] for key in keys if key[2] == attribute})
        per_pair = [
            np.mean([value[group, i, attribute, *cell] - value[probes.reference, i, attribute, *cell] for cell in cells])
            for i in range(pairs)
        ]
        found.append(Contrast(attribute, group, probes.reference, mean_interval(np.array(per_pair), CONFIDENCE)))
    return found


def _spread(of_group: Sequence[str], names: int | None) -> tuple[str, ...]:
    if names is None or names >= len(of_group):
        return tuple(of_group)
    return tuple(of_group[i] for i in np.linspace(0, len(of_group) - 1, names).round().astype(int))


def _prompt(texts: tuple[str, str], name: str) -> tuple[Message, ...]:
    facts, question = texts
    return Message(role="system", content=facts.format(name=name)), Message(role="user", content=question.format(name=name))
