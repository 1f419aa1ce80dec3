"""The cases of the audit of the policy: prompts in variants that differ in the candidate's name, or in one cue, and in nothing else.

The axis ``name`` compares race and sex in a factorial design: a case has eight variants, four races by two sexes. A case of another axis
has two variants. Names, cues and prompts are each used evenly. Texts are in ``audit_prompts.toml``, names in ``names.toml``.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.events import Message
from trainers.audits.names import name_groups, reference_race
from trainers.audits.policy.audit_prompts import AuditPrompts, Axis

if TYPE_CHECKING:
    from trainers.models.policy import Policy

Cell = tuple[str, str]  # race and sex of a name, or a cue's group and ""
FEMALE, MALE = "female names", "male names"


@dataclass(frozen=True)
class Variant:
    """A prompt of the candidate ``name`` (its rank in the cell's list, or its place among all names)."""

    messages: tuple[Message, ...]
    name: int


@dataclass(frozen=True)
class Case:
    """The variants of one audit prompt; ``prompt`` is its number in the file."""

    prompt: int
    variants: dict[Cell, Variant]


@dataclass(frozen=True)
class Pair:
    """Two variants of a case to compare; ``name`` and ``prompt`` are its clusters."""

    group: str
    reference: str
    one: Cell
    other: Cell
    name: int
    prompt: int


class Plan:
    """Draws the cases of one axis, in an order by chance: a longer draw begins with the cases of a shorter one.

    Parameters
    ----------
    policy : its tokenizer ranks the names of a cell, so that the names of a case have about as many tokens each; that keeps the random
        numbers of a pair's two replies aligned for longer
    """

    def __init__(self, axis: Axis, prompts: AuditPrompts, policy: "Policy", seed: int) -> None:
        self.axis, self._prompts, self._seed = axis, prompts, seed
        self._orders: dict[str, random.Random] = {}
        self._names = _ranked_names(policy)

    def cases(self, pairs: int) -> list[Case]:
        """As many cases as give ``pairs`` pairs for each group; a case of the axis ``name`` gives two for each race and four for sex."""
        return self._of_names(-(-pairs // 2)) if self.axis == "name" else self._of_cues(pairs)

    def _of_names(self, cases: int) -> list[Case]:
        asked = self._evenly("prompts", len(self._prompts.prompts), cases)
        ranks = self._evenly("ranks", min(map(len, self._names.values())), cases)
        return [
            Case(prompt, {cell: Variant(self._prompts.prompts[prompt].messages(names[rank]), rank) for cell, names in self._names.items()})
            for prompt, rank in zip(asked, ranks, strict=True)
        ]

    def _of_cues(self, cases: int) -> list[Case]:
        if self.axis == "name":
            raise ValueError("names have no cues")
        cues = self._prompts.axes[self.axis]
        names = [name for of_cell in self._names.values() for name in of_cell]
        levels = {"prompts": len(self._prompts.prompts), "names": len(names), "cues": len(cues.cues)}
        drawn = zip(*(self._evenly(what, of, cases) for what, of in levels.items()), strict=True)
        sides = ((1, cues.group), (0, cues.reference))
        return [
            Case(
                prompt,
                {(side, ""): Variant(self._prompts.prompts[prompt].messages(names[name], cues.cues[cue][at]), name) for at, side in sides},
            )
            for prompt, name, cue in drawn
        ]

    def _evenly(self, what: str, levels: int, n: int) -> list[int]:
        order: list[int] = []
        rng = self._orders.setdefault(what, random.Random(f"{self._seed} {self.axis} {what}"))
        while len(order) < n:
            order += rng.sample(range(levels), levels)
        return order[:n]


def pairs_of(axis: Axis, case: Case) -> Iterator[Pair]:
    """The pairs that a case compares: each race with the reference within each sex, and the sexes within each race; or the cue's groups."""
    if axis != "name":
        one, other = case.variants
        yield Pair(one[0], other[0], one, other, case.variants[one].name, case.prompt)
        return
    white = reference_race()
    races, sexes = ([*dict.fromkeys(cell[at] for cell in case.variants)] for at in (0, 1))
    for race in races:
        for number, sex in enumerate(sexes):
            one, other = (race, sex), (white, sex)
            if race != white:
                cluster = number * 1000 + case.variants[one].name
                yield Pair(f"{race} names", f"{white} names", one, other, cluster, case.prompt)
    for number, race in enumerate(races):
        one, other = (race, "female"), (race, "male")
        yield Pair(FEMALE, MALE, one, other, number * 1000 + case.variants[one].name, case.prompt)


def _ranked_names(policy: "Policy") -> dict[Cell, list[str]]:
    return {
        (group.race, group.sex): sorted(group.names, key=lambda name: (len(policy.tokenizer(" " + name)["input_ids"]), name))
        for group in name_groups()
    }
