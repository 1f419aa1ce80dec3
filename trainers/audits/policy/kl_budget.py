"""Did the challenger move further from the base model than the judgments cover?"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from storage.events import GateResult, Message
from trainers.audits.audit import Audit, Count, Finding, Limits, Rows, result
from trainers.audits.statistics.intervals import Interval, mean_interval

if TYPE_CHECKING:
    from trainers.audits.trial import Trial
    from trainers.models.policy import Policy


class KLLimits(Limits):
    """``budget`` in nats a reply from the base model. Training runs that kept the facts correct moved by one to two."""

    budget: Annotated[float, Field(gt=0)] = 5.0
    min_prompts: Count = 200


class Divergence(Finding):
    """KL in nats: the mean a reply with its 95% interval over replies, and the mean a token."""

    per_reply: Interval
    per_token: float


class Divergences(Finding):
    """KL of the challenger from the base model and from the champion."""

    base: Divergence
    champion: Divergence


def measure(trial: "Trial") -> Divergences:
    """Both divergences on the challenger's first ``kl_prompts`` replies."""
    some = slice(0, trial.settings.kl_prompts)
    prompts, replies = trial.prompts[some], trial.replies.challenger[some]
    models = trial.models
    base = champion = kl(models.challenger, models.base, prompts, replies)
    if models.refs["champion"] != models.refs["base"]:
        champion = kl(models.challenger, models.champion, prompts, replies)
    return Divergences(base=base, champion=champion)


def kl(
    policy: "Policy", reference: "Policy", prompts: Sequence[Sequence[Message]], replies: Sequence[str], *, batch: int = 32
) -> Divergence:
    """KL(policy ‖ reference) of two models with the same tokenizer, on ``replies`` sampled from ``policy``.

    The full next-token distributions are compared at each token and the divergences summed over the reply: the same expectation as that of
    log policy - log reference over replies, with less variance than the ratio at the sampled tokens, and never negative.
    """
    import numpy as np

    from trainers.models.scoring import reply_logits

    tokens = [policy.chat.reply_ids(reply) for reply in replies]
    found = np.empty(len(replies))
    ours, theirs = reply_logits(policy, prompts, tokens, batch=batch), reply_logits(reference, prompts, tokens, batch=batch)
    for (chunk, mine), (_, other) in zip(ours, theirs, strict=True):
        for i, a, b in zip(chunk, mine, other, strict=True):
            p, q = a.log_softmax(-1), b.log_softmax(-1)
            found[i] = float((p.exp() * (p - q)).sum().clamp(min=0))
    length = sum(map(len, tokens))
    return Divergence(per_reply=mean_interval(found, 0.95), per_token=float(found.sum() / length) if length else 0.0)


def gate(found: Divergences, limits: KLLimits) -> GateResult:
    """Pass when the mean KL(policy ‖ base), in nats a reply, is below the budget with its whole interval.

    Fewer than ``limits.min_prompts`` sampled prompts give an *insufficient* result, which is not a pass.
    """
    moved = found.base.per_reply
    enough = moved.n >= limits.min_prompts
    good = moved.bounded and math.isfinite(moved.figure) and moved.high < limits.budget
    if not enough:
        words = f"Not enough evidence: measured on {moved.n} replies; at least {limits.min_prompts} are needed."
    else:
        words = (
            f"The new model's replies differ from the base model's by {moved.figure:.1f} nats a reply "
            f"({found.base.per_token:.2f} a token); the budget is {limits.budget:g}, beyond which the judgments do not cover them."
        )
    return result(
        AUDIT.name,
        "insufficient" if not enough else "passed" if good else "failed",
        moved,
        limit=f"the whole interval below {limits.budget:g}",
        unit="nats",
        words=words,
    )


def rows(found: Divergences) -> Rows:
    return [("KL from the base model", _nats(found.base)), ("KL from the champion", _nats(found.champion))]


def _nats(divergence: Divergence) -> str:
    return f"{divergence.per_reply.figure:.2f} nats a reply, {divergence.per_token:.3f} a token"


AUDIT = Audit("kl_budget", "Did it stay near the base model?", KLLimits, Divergences, measure, gate, rows, topic="preference")
