"""Is our PPO faster than TRL's?

The shipped model on the same 64 prompts, a batch; replies of up to 96 tokens, 2 epochs, minibatches of 32, an adapter of the same rank, the
same classifier as reward, fp32, one CPU thread. Sides take a step in turn; the learning rate is too small to change how long replies are.
A step is sampling, scoring and all updates; its time is the CPU time of its process, which has one thread and waits for nothing.
``ppo_ratio_gc_free`` is against TRL without its ``gc.collect()``.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.figures import Figure
from benchmarks.policy.classifier import fit_classifier
from benchmarks.policy.dialogues import dialogues
from benchmarks.policy.paired import speed_ratio
from benchmarks.policy.ppo_sides import Ours, theirs
from trainers.policy.ppo_settings import PPOSettings
from trainers.policy.workarounds import keep_freed_memory

SEED, ROUNDS = 10_000, 8
SETTINGS = PPOSettings(steps=100, learning_rate=1e-6, critic_learning_rate=1e-6, critic_warmup=0)


def figures(quick: bool) -> Sequence[Figure]:
    """Seconds of TRL's step over those of ours."""
    torch.set_num_threads(1)
    keep_freed_memory()
    prompts = list(dialogues(SEED, SETTINGS.batch))
    found: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        reward = fit_classifier(SEED, 64, folder / "classifier")
        ours = Ours(prompts, reward, SETTINGS)
        with (
            theirs(prompts, reward, SETTINGS, folder / "as-it-comes", without_gc=False) as as_it_comes,
            theirs(prompts, reward, SETTINGS, folder / "gc-free", without_gc=True) as gc_free,
        ):
            for _ in range(1 + (2 if quick else ROUNDS)):  # the first warms up
                found.append((ours.steps(1), as_it_comes.steps(1), gc_free.steps(1)))
    one, other, without = zip(*found[1:], strict=True)
    speeds = [SETTINGS.batch * len(each) / sum(each) for each in (one, other, without)]
    return [
        speed_ratio("ppo_ratio", one, other, ">=2", f"TRL's time over ours; {speeds[0]:.1f} and {speeds[1]:.1f} samples/s"),
        speed_ratio("ppo_ratio_gc_free", one, without, ">=1.4", f"TRL's time over ours; {speeds[0]:.1f} and {speeds[2]:.1f} samples/s"),
    ]
