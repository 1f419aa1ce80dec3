"""The rewards of four policies side by side: random, SFT, best of n by the reward, and the policy that was trained on judgments.

Best of n by the reward and the trained policy both use the reward of the training stratum. So each is judged by that reward, in which gains
may be overoptimised (Gao et al. 2023, arXiv:2210.10760), and by the recruiters of the evaluation stratum, who know nothing of it.

*Random* is the base model's reply to another prompt: fluent text that has nothing to do with the question. (Random tokens lie so far from
everything judged that neither judge could say anything of them.) *SFT* is the base model, from which every training starts.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from trainers.audits.statistics.intervals import Interval, logit_draws_interval
from trainers.evaluation import intervals
from trainers.evaluation.measure import CONFIDENCE, Measure, Measured, Names, Rows, with_bounds

if TYPE_CHECKING:
    from trainers.evaluation.subject import Prompts, Subject
    from trainers.reward.panel import Panel

RANDOM, SFT, BEST_OF, RLHF, AGAINST = "random", "SFT", "best of n", "RLHF", "against"


class PolicyReward(Measured):
    """One policy, with 95% intervals.

    Attributes
    ----------
    name : ``random``, ``SFT``, ``best of n``, ``RLHF``, or ``against`` for a champion that is neither the base model nor the challenger
    reward : mean difference in reward from SFT's reply to the same prompt, in standard deviations of the reward's differences between
        judged replies; bootstrap over prompts
    preferred : win rate against SFT by the panel of the evaluation stratum, ties half; posterior interval
    """

    name: str
    reward: Interval
    preferred: Interval


class PolicyRewards(Measured):
    """The policies on the same ``prompts``; ``best_of`` replies were drawn for each."""

    prompts: int
    best_of: Annotated[int, Field(ge=2)]
    policies: tuple[PolicyReward, ...]


def measure(subject: "Subject") -> PolicyRewards | None:
    """None without a reward, or where the settings ask for no prompts."""
    prompts = subject.last_prompts(subject.settings.policy_prompts)
    if not prompts or not subject.has_reward:
        return None
    replies, n = subject.trial.replies, len(prompts)
    sft = replies.base[-n:]
    texts: dict[str, Sequence[str]] = {RANDOM: elsewhere(sft), SFT: sft, RLHF: replies.challenger[-n:]}
    if "champion" in subject.distinct and subject.trial.models.refs["champion"] != subject.trial.models.refs["base"]:
        texts[AGAINST] = replies.champion[-n:]
    best = _best_of(subject, prompts, sft)
    if best is None:
        return None
    texts[BEST_OF] = best
    return PolicyRewards(prompts=n, best_of=subject.settings.best_of, policies=_rewards(subject, prompts, texts))


def elsewhere(replies: Sequence[str]) -> tuple[str, ...]:
    """Each prompt gets the reply to another one: that half a round further on."""
    half = max(1, len(replies) // 2) if len(replies) > 1 else 0
    return (*replies[half:], *replies[:half])


def _best_of(subject: "Subject", prompts: "Prompts", first: Sequence[str]) -> tuple[str, ...] | None:
    """The reply with the highest reward of ``best_of`` by the base model, ``first`` among them; None without a reward."""
    draws, more = [tuple(first)], subject.settings.best_of - 1
    for k in range(more):
        draws.append(subject.sample("base", prompts, range(len(prompts)), subject.trial.settings.seed + 1 + k, (k, more)))
    scored = subject.rewards([*prompts] * len(draws), {"base": [text for each in draws for text in each]})
    if scored is None:
        return None
    chosen = scored["base"].reshape(len(draws), len(prompts)).argmax(axis=0)
    return tuple(draws[k][i] for i, k in enumerate(chosen.tolist()))


def _rewards(subject: "Subject", prompts: "Prompts", texts: dict[str, Sequence[str]]) -> tuple[PolicyReward, ...]:
    resamples, seed, n = subject.settings.resamples, subject.settings.seed, len(prompts)
    order = [name for name in (RANDOM, SFT, BEST_OF, RLHF, AGAINST) if name in texts]
    scored = subject.rewards([*prompts] * len(order), {"base": [text for name in order for text in texts[name]]})
    assert scored is not None
    rewards = dict(zip(order, scored["base"].reshape(len(order), n), strict=True))
    embedding = subject.trial.embedding
    distinct = list(dict.fromkeys((prompt, text) for name in order for prompt, text in zip(prompts, texts[name], strict=True)))
    features = dict(zip(distinct, embedding.features(distinct).astype(float), strict=True))
    vectors = {name: np.stack([features[prompt, text] for prompt, text in zip(prompts, texts[name], strict=True)]) for name in order}
    panel = subject.trial.calibrated_panel
    return tuple(
        PolicyReward(
            name=name,
            reward=intervals.mean(rewards[name] - rewards[SFT], resamples, seed),
            preferred=preferred(panel, vectors[name] - vectors[SFT], resamples, seed),
        )
        for name in order
    )


def preferred(panel: "Panel", differences: np.ndarray, draws: int, seed: int) -> Interval:
    """The panel's win rate over ``differences`` of features, ``(m, d)``, with its 95% posterior interval; one half where all are zero."""
    if not differences.any():
        return Interval(figure=0.5, low=0.5, high=0.5, n=len(differences))
    rates, _ = panel.towards(differences).win_rates(differences, draws, seed)
    return logit_draws_interval(rates.mean(axis=1), 1 - CONFIDENCE, len(differences))


def rows(found: PolicyRewards, names: Names) -> Rows:
    labels = {BEST_OF: f"best of {found.best_of}", RLHF: names.challenger, AGAINST: names.champion}
    return [
        (
            f"Reward, {labels.get(each.name, each.name)}",
            f"{with_bounds(each.reward, '+.2f')} SD over SFT, preferred to it {with_bounds(each.preferred, '.2f')}",
        )
        for each in found.policies
    ]


MEASURE = Measure("policies", PolicyRewards, measure, rows)
