"""What becomes of the replies as prompts move away from the held-out ones, along the axes of ``trainers.evaluation.severity``?

There is no right answer to hold a reply against, so four things are read from the replies: the reward relative to the base model on the
same prompt, unsupported facts, deflections and refusals, and the length. The reward extrapolates on such prompts: where it and the facts
disagree, believe the facts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from trainers.audits.content.facts import Values, facts_of, unsupported, values_of
from trainers.audits.judgments.attributes import read
from trainers.audits.statistics.intervals import Interval
from trainers.evaluation import intervals
from trainers.evaluation.deflections import deflects
from trainers.evaluation.measure import Measure, Measured, Model, Names, Rows, with_bounds
from trainers.evaluation.severity import AXES, LEVELS, Axis, Hard, at_level

if TYPE_CHECKING:
    from trainers.evaluation.subject import Subject


class Point(Measured):
    """One model on one axis at one level, with 95% intervals over prompts: exact ones of shares, from a bootstrap of means.

    Attributes
    ----------
    reward : mean difference from the base model's reply to the same prompt, in standard deviations of the reward's differences between
        judged replies; None without a reward
    unsupported : share of replies that state a fact that neither the facts nor the candidate's own question support; None without facts
    deflected : share of replies that decline to answer, point elsewhere or refuse the candidate
    length : mean number of characters
    """

    axis: str
    severity: Annotated[int, Field(ge=0, le=3)]
    model: Model
    prompts: int
    reward: Interval | None
    unsupported: Interval | None
    deflected: Interval
    length: Interval


class Robustness(Measured):
    """Every point, by axis, severity and model; models that are the same one are measured once, as the first of their names."""

    points: tuple[Point, ...]

    def line(self, axis: str, model: str) -> tuple[Point, ...]:
        """One model's points on an axis, by severity."""
        return tuple(point for point in self.points if (point.axis, point.model) == (axis, model))

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(dict.fromkeys(point.model for point in self.points))


def measure(subject: "Subject") -> Robustness | None:
    """None where the settings ask for no prompts."""
    prompts = subject.last_prompts(subject.settings.severity_prompts)
    if not prompts:
        return None
    n, seed = len(prompts), subject.settings.seed
    cells = [(AXES[0], 0), *((axis, level) for axis in AXES for level in LEVELS[1:])]  # level 0 is the same on every axis
    hard = [at_level(axis, prompt, level, i, seed) for axis, level in cells for i, prompt in enumerate(prompts)]
    shown = [each.prompt for each in hard]
    first = len(subject.trial.prompts) - n  # level 0 gets the random numbers, and so the replies, that the gates looked at
    replies = subject.replies(shown, [first + i % n for i in range(len(hard))])
    rewards = subject.rewards(shown, replies)
    values = values_of(prompts)

    def point(model: Model, k: int, axis: Axis, level: int) -> Point:
        cell = slice(k * n, (k + 1) * n)
        gain = None if rewards is None else rewards[model][cell] - rewards["base"][cell]
        return _point(subject, axis.name, level, model, hard[cell], replies[model][cell], gain, values)

    points = [point(model, k, axis, level) for k, (axis, level) in enumerate(cells) for model in subject.distinct]
    untouched = points[: len(subject.distinct)]
    points += [each.model_copy(update={"axis": axis.name}) for axis in AXES[1:] for each in untouched]
    order = [axis.name for axis in AXES]
    return Robustness(points=tuple(sorted(points, key=lambda each: (order.index(each.axis), each.severity))))


def _point(
    subject: "Subject",
    axis: str,
    severity: int,
    model: Model,
    hard: Sequence[Hard],
    replies: Sequence[str],
    gain: np.ndarray | None,
    values: Values,
) -> Point:
    resamples, seed = subject.settings.resamples, subject.settings.seed
    pairs = list(zip(hard, replies, strict=True))
    wrong = [bool(unsupported(each.held_against, reply, values)) for each, reply in pairs if facts_of(each.held_against)]
    away = [deflects(reply) or bool(read(reply)["refusal"]) for reply in replies]
    return Point(
        axis=axis,
        severity=severity,
        model=model,
        prompts=len(pairs),
        reward=None if gain is None else intervals.mean(gain, resamples, seed),
        unsupported=intervals.share(wrong) if wrong else None,
        deflected=intervals.share(away),
        length=intervals.mean(np.array([float(len(reply)) for reply in replies]), resamples, seed),
    )


def rows(found: Robustness, names: Names) -> Rows:
    """The hardest level of each axis, against level 0."""
    shown: Rows = []
    for axis in AXES:
        for model in found.models:
            line = found.line(axis.name, model)
            mild, worst = line[0], line[-1]
            is_base = worst.reward is None or worst.reward.low == worst.reward.high == 0
            parts = [] if worst.reward is None or is_base else [f"reward {with_bounds(worst.reward, '+.2f')}"]
            if worst.unsupported is not None and mild.unsupported is not None:
                parts.append(f"unsupported facts {with_bounds(worst.unsupported, '.2f')}, before {mild.unsupported.figure:.2f}")
            parts.append(f"deflected {worst.deflected.figure:.2f}, before {mild.deflected.figure:.2f}")
            shown.append((f"{axis.words.capitalize()}, severity {worst.severity}, {names.of(model)}", "; ".join(parts)))
    return shown


MEASURE = Measure("robustness", Robustness, measure, rows)
