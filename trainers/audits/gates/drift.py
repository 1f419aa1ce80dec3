"""Did the challenger move further from the reference than recruiters' evidence reaches?"""

import math

from storage.events import GateResult
from trainers.audits.gates.limits import KLLimits
from trainers.audits.kl import Divergence


def kl_budget(evidence: Divergence, limits: KLLimits) -> GateResult:
    """Pass when the mean KL(policy || reference), in nats a reply, is below the budget with its whole interval.

    Fewer than ``limits.min_prompts`` sampled prompts give an *insufficient* result, which is not a pass.
    """
    moved = evidence.per_reply
    enough = moved.n >= limits.min_prompts
    bounded = math.isfinite(moved.low) and math.isfinite(moved.high)
    good = bounded and math.isfinite(moved.figure) and moved.high < limits.budget
    if not enough:
        words = f"Too little to judge by: measured on {moved.n} replies; at least {limits.min_prompts} are needed."
    else:
        words = (
            f"The new model's replies differ from the base model's by {moved.figure:.1f} nats a reply ({evidence.per_token:.2f} a token); "
            f"beyond {limits.budget:g} it would have gone further than the judgments reach."
        )
    return GateResult(
        name="kl_budget",
        verdict="insufficient" if not enough else "passed" if good else "failed",
        figure=moved.figure if math.isfinite(moved.figure) else None,
        low=moved.low if bounded else None,
        high=moved.high if bounded else None,
        n=moved.n,
        limit=f"the whole interval below {limits.budget:g}",
        unit="nats",
        words=words,
    )
