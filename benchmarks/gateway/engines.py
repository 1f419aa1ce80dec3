"""Engines asked without a server, in this process on one thread: ours, ``model.generate`` and transformers' continuous batching."""

import time
from collections.abc import Sequence

import torch

from storage.events import Message, Sampling
from trainers.models.engine import run_draws
from trainers.models.policy import Policy
from trainers.models.reply import Piece, Reply
from trainers.models.sampler import Draw

Prompts = Sequence[Sequence[Message]]


def one_by_one(policy: Policy, prompts: Prompts, tokens: int) -> tuple[float, list[float]]:
    """Seconds a token, and for each prompt the seconds until ``generate`` has the first one."""
    ids = [policy.chat.prompt_ids(prompt) for prompt in prompts]
    started = time.perf_counter()
    made = sum(_generate(policy, each, tokens) for each in ids)
    seconds = time.perf_counter() - started
    first = []
    for each in ids:
        begun = time.perf_counter()
        _generate(policy, each, 1)
        first.append(time.perf_counter() - begun)
    return seconds / made, first


def by_our_engine(policy: Policy, prompts: Prompts, tokens: int, rows: int) -> float:
    """Seconds a token with at most so many rows in a batch."""
    made = 0

    def collect(item: Piece | Reply | Exception) -> None:
        nonlocal made
        if isinstance(item, Exception):
            raise item
        made += item.completion_tokens if isinstance(item, Reply) else 0

    sampling = Sampling(temperature=0, max_tokens=tokens)
    started = time.perf_counter()
    draws = [Draw(policy.chat.prompt_ids(prompt), sampling, tokens, collect, pieces=False) for prompt in prompts]
    run_draws(policy, draws, rows)
    return (time.perf_counter() - started) / made


def by_continuous_batching(policy: Policy, prompts: Prompts, tokens: int, rows: int) -> float:
    """Seconds a token of ``generate_batch``; without setting its cache up. It replaces the model's attention: load one for it."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    ids = [policy.chat.prompt_ids(prompt) for prompt in prompts]
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=tokens, do_sample=False, eos_token_id=policy.ends[0], pad_token_id=0
    )
    batching = ContinuousBatchingConfig(max_batch_tokens=2048, max_requests_per_batch=rows, num_blocks=256)

    def made_from(some: list[list[int]]) -> int:
        found = policy.model.generate_batch(some, config, batching, persistent_manager=True)
        return sum(token not in policy.ends for each in found.values() for token in each.generated_tokens)

    made_from(ids[:1])  # sets the cache up
    started = time.perf_counter()
    made = made_from(ids)
    return (time.perf_counter() - started) / made


@torch.inference_mode()
def _generate(policy: Policy, ids: Sequence[int], tokens: int) -> int:
    inputs = torch.tensor([list(ids)])
    found = policy.model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=list(policy.ends),
        pad_token_id=0,
    )
    made = found[0, len(ids) :].tolist()
    return sum(token not in policy.ends for token in made)
