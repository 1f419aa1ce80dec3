"""Replies to the cases of one axis, their outcomes, and the comparison of each outcome between groups.

Replies to the two variants of a pair are sampled with the same random numbers, whichever the policy, so that most pairs differ in nothing
and few of them show that a difference is small.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from storage.events import Message
from trainers.audits.audit import Finding
from trainers.audits.content.conduct import unlawful_questions
from trainers.audits.content.task_success import succeeded
from trainers.audits.judgments.attributes import read
from trainers.audits.policy.audit_prompts import Axis
from trainers.audits.policy.cases import Case, Cell, Pair, pairs_of
from trainers.audits.statistics.intervals import Interval
from trainers.audits.statistics.paired import PairedMean, clustered_mean, detectable

if TYPE_CHECKING:
    import numpy as np

    from trainers.audits.settings import EvaluationSettings
    from trainers.models.policy import Policy

CUE_OUTCOMES = ("dated", "refusal", "warm", "length", "task")
LOGS = ("length", "spread")  # outcomes in log characters; the others are shares
LEAST_DECILE = 0.1  # a reply shorter than nine tenths of them is "very short"
BATCH = 128  # rows sampled together; a reply takes a quarter less time than in batches of 64
MAX_EXAMPLES = 3


class Key(NamedTuple):
    """What is compared: an outcome of a group against its reference."""

    axis: Axis
    group: str
    reference: str
    outcome: str


class Comparison(Finding):
    """One outcome for one group against its reference.

    Attributes
    ----------
    challenger : mean difference of its pairs, group minus reference, with the 90% interval
    base : the base model's difference on the same pairs; None for names, where it is no excuse and is not measured
    judged : what the gate holds against its limit: the challenger's difference for names, else the challenger's minus the base model's
    p : of ``judged``, two-sided, before the correction for several comparisons
    group_mean, reference_mean : the challenger's means
    detectable : the difference that is found with 95% probability, with as many comparisons as were made
    needed : pairs for each group that the pilot's variances ask for
    """

    axis: Axis
    group: str
    reference: str
    outcome: str
    challenger: Interval
    base: Interval | None
    judged: Interval
    p: float
    group_mean: float
    reference_mean: float
    detectable: float
    needed: int


class CounterfactualExample(Finding):
    """A pair of the challenger's replies that differ in an outcome."""

    axis: str
    group: str
    reference: str
    outcome: str
    prompt: tuple[Message, ...]
    reply: str
    reference_prompt: tuple[Message, ...]
    reference_reply: str


class Values(NamedTuple):
    """An outcome of the pairs ``at`` in the group and in the reference, ``(n,)`` each."""

    one: "np.ndarray"
    other: "np.ndarray"
    at: list[int]


def is_share(outcome: str) -> bool:
    return outcome not in LOGS


def outcomes_of(prompt: Sequence[Message], reply: str) -> dict[str, float]:
    """What is compared between groups: attributes, an unlawful question, and task success where the prompt has a checkable task."""
    found = {**read(reply), "unlawful": float(bool(unlawful_questions(reply)))}
    done = succeeded(prompt, reply)
    return found if done is None else found | {"task": float(done)}


class Replies:
    """One policy's replies to the cases of one axis, with their outcomes."""

    def __init__(self, axis: Axis, policy: "Policy", settings: "EvaluationSettings") -> None:
        self.axis = axis
        self._policy, self._settings = policy, settings
        self._batches = 0
        self._cases: list[Case] = []
        self._texts: list[dict[Cell, str]] = []
        self._outcomes: list[dict[Cell, dict[str, float]]] = []
        self._pairs: list[tuple[Pair, int]] = []

    def draw(self, cases: Sequence[Case]) -> None:
        """Sample more cases: all variants of a case with the same random numbers."""
        from trainers.models.engine import generate

        if not cases:
            return
        seed = random.Random(f"{self._settings.seed} {self.axis} {self._batches}").getrandbits(48)
        self._batches += 1
        cells = list(cases[0].variants)
        prompts = [case.variants[cell].messages for case in cases for cell in cells]
        numbers = [i for i in range(len(cases)) for _ in cells]
        found = iter(generate(self._policy, prompts, self._settings.sampling, seed, batch=BATCH, numbers=numbers))
        texts = [{cell: next(found) for cell in cells} for _ in cases]
        for i, case in enumerate(cases):
            self._pairs += [(pair, len(self._cases)) for pair in pairs_of(self.axis, case)]
            self._cases.append(case)
            self._texts.append(texts[i])
            self._outcomes.append({cell: outcomes_of(case.variants[cell].messages, text) for cell, text in texts[i].items()})

    def clusters(self, at: Sequence[int]) -> tuple[list[int], list[int]]:
        """The names and the prompts of pairs."""
        return [self._pairs[i][0].name for i in at], [self._pairs[i][0].prompt for i in at]

    def values(self) -> dict[Key, Values]:
        """The outcomes of every comparison; of a cue, those in which a reply to a harmless remark should not change.

        For names, ``spread`` and ``very_short`` show differences in dispersion and in the tail, which a mean would hide: the distance of a
        reply's log length from the median (Brown and Forsythe, 1974), and whether it is in the lowest tenth.
        """
        import numpy as np

        found: dict[Key, Values] = {}
        groups = dict.fromkeys((pair.group, pair.reference) for pair, _ in self._pairs)
        lengths = np.array([each["length"] for outcomes in self._outcomes for each in outcomes.values()])
        median, least = float(np.median(lengths)), float(np.quantile(lengths, LEAST_DECILE))
        for group, reference in groups:
            rows = [
                (self._outcomes[case][pair.one], self._outcomes[case][pair.other], i)
                for i, (pair, case) in enumerate(self._pairs)
                if (pair.group, pair.reference) == (group, reference)
            ]
            for outcome in dict.fromkeys(name for one, _, _ in rows for name in one):
                if self.axis != "name" and outcome not in CUE_OUTCOMES:
                    continue
                kept = [(one[outcome], other[outcome], i) for one, other, i in rows if outcome in one]
                if outcome == "task" and len({self._pairs[i][0].prompt for *_, i in kept}) < 2:
                    continue  # the prompts have no checkable task, or a single one
                one, other = (np.array([row[side] for row in kept]) for side in (0, 1))
                at = [i for *_, i in kept]
                found[Key(self.axis, group, reference, outcome)] = Values(one, other, at)
                if self.axis == "name" and outcome == "length":
                    found[Key(self.axis, group, reference, "spread")] = Values(abs(one - median), abs(other - median), at)
                    found[Key(self.axis, group, reference, "very_short")] = Values((one < least) * 1.0, (other < least) * 1.0, at)
        return found

    def examples(self, worst: Comparison) -> Iterator[CounterfactualExample]:
        """Pairs that differ most in the outcome of ``worst``, in the direction of what was judged."""
        one, other, at = self.values()[Key(self.axis, worst.group, worst.reference, worst.outcome)]
        sign = 1 if worst.judged.figure >= 0 else -1
        ranked = sorted(range(len(at)), key=lambda i: -sign * float(one[i] - other[i]))
        for i in ranked[:MAX_EXAMPLES]:
            if one[i] != other[i]:
                pair, case = self._pairs[at[i]]
                yield CounterfactualExample(
                    axis=self.axis,
                    group=worst.group,
                    reference=worst.reference,
                    outcome=worst.outcome,
                    prompt=self._cases[case].variants[pair.one].messages,
                    reply=self._texts[case][pair.one],
                    reference_prompt=self._cases[case].variants[pair.other].messages,
                    reference_reply=self._texts[case][pair.other],
                )


def judged_differences(ours: Replies, base: Replies | None) -> dict[Key, "np.ndarray"]:
    """For each comparison what the limit holds for, by pair: the difference, less the base model's on the same pair."""
    found = {key: each.one - each.other for key, each in ours.values().items()}
    if base is None:
        return found
    theirs = base.values()
    return {key: values - (theirs[key].one - theirs[key].other) for key, values in found.items()}


def compare(ours: Replies, base: Replies | None, needed: int, comparisons: int) -> list[Comparison]:
    """The comparisons of one axis; ``comparisons`` is the number over all axes."""

    def mean(key: Key, values: "np.ndarray", at: Sequence[int]) -> PairedMean:
        return clustered_mean(values, *ours.clusters(at), share=is_share(key.outcome))

    theirs = {} if base is None else base.values()
    judged = judged_differences(ours, base)
    found = []
    for key, (one, other, at) in ours.values().items():
        result = mean(key, judged[key], at)
        found.append(
            Comparison(
                **key._asdict(),
                challenger=mean(key, one - other, at).interval,
                base=mean(key, theirs[key].one - theirs[key].other, at).interval if key in theirs else None,
                judged=result.interval,
                p=result.p,
                group_mean=float(one.mean()),
                reference_mean=float(other.mean()),
                detectable=detectable(result.error, result.degrees, comparisons),
                needed=needed,
            )
        )
    return found
