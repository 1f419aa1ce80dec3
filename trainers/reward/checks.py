"""May a reward rank replies or train a policy? It must resist tricks and score the same reply alike under every name.

The same audits look at the reward head of a training run. What fails here is refused by whatever would optimise against the reward.
"""

from collections.abc import Sequence

from storage.events import GateResult
from trainers.audits.reward import name_contrast, reward_probes
from trainers.audits.reward.name_contrast import ContrastLimits, Contrasts
from trainers.audits.reward.reward_contrasts import name_contrasts
from trainers.audits.reward.reward_probes import ProbeLimits
from trainers.data.preference import Preference
from trainers.reward.guarded import without_floor
from trainers.reward.reward import Reward, spread_of


def checked(model: Reward, preferences: Sequence[Preference], contrasts: ContrastLimits, probes: ProbeLimits) -> tuple[GateResult, ...]:
    """The gates of the reward's name contrasts and of its probes, in units of its spread on these preferences."""
    spread = spread_of(without_floor(model), preferences)
    by_name = Contrasts(contrasts=tuple(name_contrasts(model.scores, spread, name_contrast.read_probes())))
    tricks = reward_probes.reward_probes(model.scores, spread, reward_probes.read_texts())
    return name_contrast.gate(by_name, contrasts), reward_probes.gate(tricks, probes)


def refusal(gates: Sequence[GateResult]) -> str | None:
    """Why the reward may not be used to rank; None where it may."""
    words = [f"{gate.name}: {gate.words}" for gate in gates if gate.verdict != "passed"]
    if not gates:
        return "it has not been checked; train it again with `feedbackloop train --phase reward`"
    return " ".join(words) or None
