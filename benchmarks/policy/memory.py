"""How much memory does PPO with an adapter need, against full fine-tuning with a reference and a critic of their own?

A model of more than 100 million weights, fp32, no checkpointing, the same replies and micro-batch. Counted are the bytes of distinct
storages: parameters, gradients, optimiser states after a step, and what a forward pass keeps for the backward pass. On the other side are
a policy and a critic that train all of their weights, and a reference that trains none (as in Huang et al. 2024, arXiv:2403.17031).
"""

import copy
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.figures import Figure
from benchmarks.policy.dialogues import dialogues
from benchmarks.policy.random_model import write_random_model
from trainers.models.policy import Policy, load_policy
from trainers.policy.ppo import PPO
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.rollouts import Rollout

SEED, MEGABYTE = 10_000, 1 << 20
SETTINGS = PPOSettings(batch=4, minibatch=4, micro_batch=4, epochs=1, critic_epochs=1, critic_warmup=0, max_tokens=48, scale_rewards=False)


def figures(quick: bool) -> Sequence[Figure]:
    """The ratio of the bytes, and its parts."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_random_model(Path(scratch) / "model", width=256 if quick else 768, layers=4 if quick else 15)
        trainer = PPO(load_policy(str(folder)), SETTINGS)
        trainer.step(0, list(dialogues(SEED, SETTINGS.batch)), lambda items: [float(len(reply)) for _, reply in items])
        rollouts = trainer.sample(1, list(dialogues(SEED, SETTINGS.batch)))
        ours = _ours(trainer, rollouts)
        full = _full(load_policy(str(folder)), rollouts)
        weights = sum(p.numel() for p in load_policy(str(folder)).model.parameters())
    parts = ", ".join(f"{name} {ours[name] / MEGABYTE:.0f} and {full[name] / MEGABYTE:.0f}" for name in ours)
    about = f"of {sum(full.values()) / MEGABYTE:.0f} MiB; {parts} MiB; {weights / 1e6:.0f}M weights"
    return [Figure("ppo_lora_memory_ratio", sum(ours.values()) / sum(full.values()), None, None, about, "<=0.5")]


def _ours(trainer: PPO, rollouts: Sequence[Rollout]) -> dict[str, int]:
    trained = [*trainer.adapter, *trainer.critic.parameters()]
    experience, _ = trainer.experience(rollouts, lambda items: [0.0] * len(items))
    return {
        "parameters": _bytes([*trainer.peft.parameters(), *trainer.critic.parameters()]),
        "gradients": sum(p.numel() * p.element_size() for p in trained),
        "optimiser": _bytes(_moments(trainer.optimizer)),
        "activations": _kept(lambda: trainer.forward(rollouts), trainer.peft.parameters()) + _bytes([experience.states]),
    }


def _full(policy: Policy, rollouts: Sequence[Rollout]) -> dict[str, int]:
    """The same of a policy, a critic and a reference of full size, after a step of the first two."""
    reference, trunk = copy.deepcopy(policy.model), copy.deepcopy(policy.model.base_model)
    head = nn.Linear(policy.model.config.hidden_size, 1)
    trained = [*policy.model.parameters(), *trunk.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained)
    rows = [[*rollout.prompt_ids, *rollout.reply_ids] for rollout in rollouts]
    length, replies = max(map(len, rows)), max(len(rollout.reply_ids) for rollout in rollouts)
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])

    def forward() -> Tensor:
        logits = policy.model(input_ids=ids, attention_mask=mask, logits_to_keep=replies + 1, use_cache=False).logits[:, :-1]
        chosen = logits.gather(-1, ids[:, -replies:, None]).squeeze(-1) - logits.logsumexp(-1)
        values = head(trunk(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, -replies - 1 : -1])
        found: Tensor = chosen.sum() + values.sum()
        return found

    activations = _kept(forward, trained)
    forward().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return {
        "parameters": _bytes([*trained, *reference.parameters()]),
        "gradients": _bytes([p.grad for p in trained if p.grad is not None]),
        "optimiser": _bytes(_moments(optimizer)),
        "activations": activations,
    }


def _moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _kept(forward: Callable[[], Any], parameters: Iterable[Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, without the parameters."""
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    found = _bytes([tensor for tensor in kept if tensor.untyped_storage().data_ptr() not in own])
    del result  # until here what it keeps is alive, so that no address is used twice
    return found
