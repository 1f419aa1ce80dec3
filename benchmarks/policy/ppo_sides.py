"""The two PPOs that are compared, each trained a few steps at a time: ours in this process, TRL's in another."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.policy import ppo_by_trl
from benchmarks.policy.classifier import Classifier
from benchmarks.policy.dialogues import Prompt
from benchmarks.policy.trl_environment import trl_python
from trainers.models.policy import load_policy
from trainers.models.references import resolve_model
from trainers.policy.adapters import write_adapter
from trainers.policy.ppo import PPO
from trainers.policy.ppo_settings import PPOSettings


class Ours:
    """Our PPO; ``save`` is a folder for the adapter after each call."""

    def __init__(self, prompts: Sequence[Prompt], reward: Path, settings: PPOSettings, save: Path | None = None) -> None:
        self.policy = load_policy("shipped")
        self._ppo = PPO(self.policy, settings)
        self._reward = Classifier(reward, self._ppo.policy)
        self._prompts, self._settings, self._save, self._done = prompts, settings, save, 0

    def steps(self, count: int) -> float:
        """Train ``count`` steps; return the seconds of CPU time they took."""
        started = time.process_time()
        for _ in range(count):
            begin = self._done * self._settings.batch
            batch = [self._prompts[i % len(self._prompts)] for i in range(begin, begin + self._settings.batch)]
            self._ppo.step(self._done, batch, self._reward)
            self._done += 1
        seconds = time.process_time() - started
        if self._save is not None:
            write_adapter(self._ppo.peft, "shipped", self._save / f"step-{self._done}")
        return seconds


class Theirs:
    """TRL's PPO with its best flags for a CPU: fp32, no checkpointing, large rollout batches, no sample tables."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def steps(self, count: int) -> float:
        """Train ``count`` steps; return the seconds of CPU time they took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("TRL's training has ended; see its messages above")
        return float(json.loads(line)["seconds"])


@contextlib.contextmanager
def theirs(
    prompts: Sequence[Prompt], reward: Path, settings: PPOSettings, folder: Path, *, without_gc: bool, save: Path | None = None
) -> Iterator[Theirs]:
    """Start TRL's PPO in its own environment, with as many threads as this process; it ends with the block."""
    import torch

    folder.mkdir(parents=True)
    job = folder / "job.json"
    job.write_text(json.dumps(_job(prompts, reward, settings, folder) | {
        "threads": torch.get_num_threads(), "without_gc": without_gc, "save": str(save) if save else None,
    }))  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    environment |= {"OMP_NUM_THREADS": str(torch.get_num_threads()), "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "stderr").open("w") as stderr:
        command = [str(trl_python()), str(Path(ppo_by_trl.__file__)), str(job)]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder
        )
        try:
            yield Theirs(process)
        except RuntimeError:
            sys.stderr.write((folder / "stderr").read_text()[-3000:])
            raise
        finally:
            process.kill()
            process.wait()


def _job(prompts: Sequence[Prompt], reward: Path, settings: PPOSettings, folder: Path) -> dict[str, Any]:
    policy = load_policy("shipped")
    lora = settings.lora()
    return {
        "model": resolve_model("shipped"),
        "reward": str(reward),
        "prompts": [policy.chat.fitted_ids(prompt, settings.max_length - settings.max_tokens) for prompt in prompts],
        "lora": {
            "r": lora.r, "lora_alpha": lora.lora_alpha, "lora_dropout": 0.0, "target_modules": "all-linear", "task_type": "CAUSAL_LM",
        },
        "arguments": {
            "output_dir": str(folder / "out"), "use_cpu": True, "bf16": False, "gradient_checkpointing": False,
            "per_device_train_batch_size": settings.batch, "gradient_accumulation_steps": 1,
            "num_mini_batches": settings.batch // settings.minibatch, "num_ppo_epochs": settings.epochs,
            "local_rollout_forward_batch_size": settings.batch, "total_episodes": settings.batch * settings.steps,
            "response_length": settings.max_tokens, "temperature": settings.temperature, "stop_token": "eos",
            "missing_eos_penalty": settings.truncation_penalty, "kl_coef": settings.kl_coefficient, "cliprange": settings.clip,
            "cliprange_value": settings.value_clip, "gamma": settings.gamma, "lam": settings.gae_lambda,
            "learning_rate": settings.learning_rate, "lr_scheduler_type": "linear", "max_grad_norm": settings.max_gradient_norm,
            "num_sample_generations": 0, "save_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_steps": 1,
            "seed": settings.seed,
        },
    }  # fmt: skip
