"""How far has a policy moved from another? KL(policy ‖ reference) on replies that the policy itself gave."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.events import Message
from trainers.audits.intervals import Interval, mean_interval
from trainers.models.generation import Policy, reply_ids, reply_logits


@dataclass(frozen=True)
class Divergence:
    """In nats: the mean a reply with its 95 % interval over replies, and the mean a token."""

    per_reply: Interval
    per_token: float


def kl(policy: Policy, reference: Policy, prompts: Sequence[Sequence[Message]], replies: Sequence[str], *, batch: int = 32) -> Divergence:
    """The divergence of ``policy`` from ``reference``, two models of one tokenizer, on ``replies`` sampled from ``policy``.

    For each token the whole next-token distributions are compared and the divergences summed over the reply: the expectation of
    log policy - log reference over replies, with less noise than the ratio at the tokens that happened to be drawn, and never below zero.
    """
    tokens = [reply_ids(policy, reply) for reply in replies]
    found = np.empty(len(replies))
    ours, theirs = reply_logits(policy, prompts, tokens, batch=batch), reply_logits(reference, prompts, tokens, batch=batch)
    for (chunk, mine), (_, other) in zip(ours, theirs, strict=True):
        for i, a, b in zip(chunk, mine, other, strict=True):
            p, q = a.log_softmax(-1), b.log_softmax(-1)
            found[i] = float((p.exp() * (p - q)).sum().clamp(min=0))
    length = sum(map(len, tokens))
    return Divergence(mean_interval(found, 0.95), float(found.sum() / length) if length else 0.0)
