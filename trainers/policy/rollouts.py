"""Replies that are sampled for training: token ids and log-probabilities as they were drawn, so that text is never tokenised again."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from storage.events import Message, Sampling, derived_id
from trainers.models.engine import run_draws
from trainers.models.policy import Policy
from trainers.models.reply import Reply
from trainers.models.sampler import Draw


@dataclass(frozen=True)
class Rollout:
    """One sampled reply.

    Attributes
    ----------
    reply_ids : with the end token, unless the reply was truncated
    log_probabilities : of ``reply_ids`` under the policy that drew them, at the sampling temperature
    finished : whether it ended by itself, within the maximum length
    """

    prompt: tuple[Message, ...]
    prompt_ids: Sequence[int]
    reply_ids: Sequence[int]
    log_probabilities: Sequence[float]
    text: str
    finished: bool


def sample_rollouts(
    policy: Policy,
    prompts: Sequence[Sequence[Message]],
    *,
    temperature: float,
    max_tokens: int,
    seed: int,
    max_length: int | None = None,
    numbers: Sequence[int] | None = None,
    batch: int = 64,
) -> list[Rollout]:
    """One reply to each prompt.

    Reply i uses random numbers that depend on ``seed`` and ``numbers[i]`` (by default i) only, so that a resumed training draws the same,
    and so do several processes that share a batch. Prompts that leave less than ``max_tokens`` of ``max_length``, or of the model's window,
    lose their oldest turns.
    """
    window = policy.window if max_length is None else min(max_length, policy.window)
    texts = [""] * len(prompts)

    def collect(i: int, item: str | Reply | Exception) -> None:
        if isinstance(item, Exception):
            raise item
        texts[i] = item.text.strip() if isinstance(item, Reply) else item

    draws = []
    for i, prompt in enumerate(prompts):
        ids = policy.chat.fitted_ids(prompt, window - max_tokens)
        own = derived_id("rollout", seed, i if numbers is None else numbers[i]).int % 2**63
        sampling = Sampling(temperature=temperature, top_p=1.0, max_tokens=max_tokens, seed=own)
        draws.append(Draw(ids, sampling, max_tokens, partial(collect, i), pieces=False, traced=True))
    run_draws(policy, draws, batch)
    return [
        Rollout(
            tuple(prompt),
            draw.ids,
            draw.tokens if draw.end is None else [*draw.tokens, draw.end],
            draw.log_probabilities or (),
            text,
            draw.end is not None,
        )
        for prompt, draw, text in zip(prompts, draws, texts, strict=True)
    ]
