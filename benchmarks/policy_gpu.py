"""How fast do DPO and PPO train a model of more than half a billion weights on a GPU, and what share of the card's peak is that?

Random weights, bf16, a LoRA adapter, no gradient checkpointing, and the product's own code. Tokens are those that are computed, without
padding, a comparison's prompt once. Operations are 2 a weight and token in a forward pass, and 2 in a backward pass, since gradients of
frozen weights are not computed.

``python -m benchmarks.policy_gpu --json FILE``; ``--dry-run`` tries it out on a small model, also on a CPU.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.figures import Figure, result, write
from benchmarks.policy.dialogues import dialogues
from benchmarks.policy.random_model import write_random_model
from trainers.data.preference import Preference
from trainers.models.policy import Policy, load_policy
from trainers.policy.dpo import DPOSettings, train_dpo
from trainers.policy.ppo import PPO
from trainers.policy.ppo_settings import PPOSettings

SEED = 10_000
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "A10": 125e12, "L4": 121e12, "4090": 165e12, "3090": 71e12}
REPLY = "Thank you for asking. I will send you the times that are free, and you can choose one of them by Friday. " * 4


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy_gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peak", type=float, help="bf16 operations of the card a second, where its name is not known, such as 312e12")
    parser.add_argument("--batch", type=int, default=32, help="comparisons or replies in one pass")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.dry_run:
        sys.stdout.write("policy_gpu: there is no GPU here, so there is nothing to measure\n")
        return
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    peak = arguments.peak or next((value for name, value in PEAKS.items() if name in card), None)
    with tempfile.TemporaryDirectory() as scratch:
        width, layers = (128, 2) if arguments.dry_run else (2048, 12)
        folder = write_random_model(Path(scratch) / "model", width=width, layers=layers, dtype=torch.bfloat16)
        batch = 8 if arguments.dry_run else arguments.batch
        found = [*dpo(folder, Path(scratch), batch, peak), *ppo(folder, batch, peak)]
    write(result("policy_gpu", found, ("torch", "transformers", "trl", "peft"), card=card), arguments.json)


def dpo(base: Path, scratch: Path, batch: int, peak: float | None) -> list[Figure]:
    """Training steps of DPO, without the first ones."""
    rows = [Preference.of_replies(prompt, REPLY, REPLY + "Please write to me again.") for prompt in dialogues(SEED, 12 * batch)]
    settings = DPOSettings(batch=batch, epochs=1, gradient_checkpointing=False)
    ended: list[float] = []

    def progress(*said: object) -> None:
        _wait()
        ended.append(time.perf_counter())

    train_dpo(str(base), rows, settings, scratch / "dpo", progress)
    chat = load_policy(str(base)).chat
    lengths = [len(chat.prompt_ids(row.prompt)) + len(chat.reply_ids(row.chosen)) + len(chat.reply_ids(row.rejected)) for row in rows]
    timed = len(ended) - 3
    tokens = sum(lengths) / len(ended) * timed
    return _figures("dpo", tokens, ended[-1] - ended[2], 4.0, load_policy(str(base)), peak)


def ppo(base: Path, batch: int, peak: float | None) -> list[Figure]:
    """Sampling, and the updates of the policy, of the second step."""
    policy = load_policy(str(base))
    weights = load_policy(str(base))
    settings = PPOSettings(
        batch=4 * batch, minibatch=2 * batch, micro_batch=batch, critic_warmup=0, max_tokens=128, scale_rewards=False,
        gradient_checkpointing=False, learning_rate=1e-5,
    )  # fmt: skip
    trainer, prompts = PPO(policy, settings), list(dialogues(SEED, settings.batch))

    def reward(items: Sequence[object]) -> list[float]:
        return [0.0] * len(items)

    trainer.step(0, prompts, reward)
    started = _now()
    rollouts = trainer.sample(1, prompts)
    sampled = _now()
    experience, _ = trainer.experience(rollouts, reward)
    before = _now()
    trainer.update(1, experience)
    updated = _now()
    replies = sum(len(rollout.reply_ids) for rollout in rollouts)
    tokens = replies + sum(len(rollout.prompt_ids) for rollout in rollouts)
    return [
        *_figures("ppo_sampling", replies, sampled - started, 2.0, weights, peak),
        *_figures("ppo_update", settings.epochs * tokens, updated - before, 4.0, weights, peak),
    ]


def _figures(name: str, tokens: float, seconds: float, operations: float, policy: Policy, peak: float | None) -> list[Figure]:
    weights = sum(parameter.numel() for parameter in policy.model.parameters())
    found = [Figure(f"{name}_tokens_a_second", tokens / seconds, None, None, f"tokens/s; {weights / 1e6:.0f}M weights")]
    if peak is None:
        return found
    return [*found, Figure(f"{name}_share_of_peak", operations * weights * tokens / seconds / peak, None, None, "of the card's bf16 peak")]


def _now() -> float:
    _wait()
    return time.perf_counter()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
