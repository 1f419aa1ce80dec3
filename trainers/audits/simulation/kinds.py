"""The kinds of challengers that are simulated. A new one is a row of :func:`kinds`."""

from dataclasses import dataclass

GROUP_SHARE = 0.3  # of candidates are of the group against which a biased challenger is biased
BIAS = 0.35


@dataclass(frozen=True)
class Kind:
    """A kind of challenger, with what is true of it.

    Attributes
    ----------
    words : shown in the table
    win_rate : mean over the panel's recruiters
    wanted : whether it should become champion
    shared, own : standard deviations of the panel's shared and own tastes, in logits an attribute
    bias : how far its win rate in the group lies below its win rate in all
    wrong_facts, improper : how much more often than the base model it states a wrong fact, or asks or promises what it must not
    """

    name: str
    words: str
    win_rate: float
    wanted: bool
    shared: float = 1.0
    own: float = 0.3
    bias: float = 0.0
    wrong_facts: float = 0.0
    improper: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether only its win rate tells it from the champion."""
        return not (self.bias or self.wrong_facts or self.improper)

    def group_win_rates(self) -> tuple[float, float]:
        """The win rates among the candidates of the group and among the others."""
        return self.win_rate - self.bias, self.win_rate + self.bias * GROUP_SHARE / (1 - GROUP_SHARE)


def kinds(bias: float = BIAS) -> tuple[Kind, ...]:
    """Every kind; ``bias`` is that of the biased one."""
    biased = Kind("biased", "better, but worse for one group", 0.60, False, bias=bias)
    group, others = biased.group_win_rates()
    if not (group > 0 and others < 1):
        raise ValueError(f"bias = {bias:g} gives win rates of {group:.2f} in the group and {others:.2f} among the others")
    return (
        Kind("null", "recruiters have no taste", 0.50, False, shared=0.0, own=0.0),
        Kind("panel_null", "own tastes that cancel out", 0.50, False, shared=0.0, own=1.0),
        Kind("worse_40", "worse", 0.40, False),
        Kind("better_55", "slightly better", 0.55, True),
        Kind("better_60", "better", 0.60, True),
        Kind("better_70", "much better", 0.70, True),
        biased,
        Kind("careless", "better, but careless with facts", 0.60, False, wrong_facts=0.03, improper=0.01),
    )
