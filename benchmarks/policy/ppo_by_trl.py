"""PPO by TRL 1.12, the last version that had it. Runs in an environment of its own (:mod:`benchmarks.policy.trl_environment`).

The only argument is a JSON file, see :class:`benchmarks.policy.ppo_sides.Theirs`. Each line on stdin asks for that many steps; the answer
is a line of JSON with the seconds of CPU time they took. With a folder under
``save`` the adapter is saved after each request. Imports nothing of this project.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback


class Steps(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Lets the training go on for as many steps as were asked for."""

    def __init__(self, out: Any, save: Path | None) -> None:
        self._out, self._save, self._left, self._started = out, save, 0, 0.0
        self.model: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        """Wait for the first request."""
        self._wait()

    def on_step_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        """Answer the request when its steps are done."""
        self._left -= 1
        if not self._left:
            seconds = time.process_time() - self._started
            if self._save is not None:
                self.model.save_pretrained(str(self._save / f"step-{state.global_step}"))
            self._answer({"seconds": seconds, "step": state.global_step})
            self._wait()

    def _answer(self, found: dict[str, Any]) -> None:
        self._out.write(json.dumps(found) + "\n")
        self._out.flush()

    def _wait(self) -> None:
        line = sys.stdin.readline()
        if not line:
            sys.exit(0)
        self._left, self._started = int(line), time.process_time()


def main(job: dict[str, Any]) -> None:
    """Train as the job says."""
    out, sys.stdout = sys.stdout, sys.stderr  # the trainer prints
    torch.set_num_threads(job["threads"])
    ppo: Any = importlib.import_module("trl.experimental.ppo")
    if job["without_gc"]:
        module: Any = importlib.import_module("trl.experimental.ppo.ppo_trainer")
        module.gc = SimpleNamespace(collect=lambda: 0)
    torch.manual_seed(job["arguments"]["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    steps = Steps(out, Path(job["save"]) if job["save"] else None)
    trainer = ppo.PPOTrainer(
        args=ppo.PPOConfig(**job["arguments"]),
        processing_class=tokenizer,
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        ref_model=None,
        reward_model=AutoModelForSequenceClassification.from_pretrained(job["reward"], dtype=torch.float32),
        value_model=AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=1, dtype=torch.float32),
        train_dataset=Dataset.from_list([{"input_ids": ids} for ids in job["prompts"]]),
        eval_dataset=Dataset.from_list([{"input_ids": ids} for ids in job["prompts"][:8]]),
        callbacks=[steps],
        peft_config=LoraConfig(**job["lora"]) if job["lora"] else None,
    )
    steps.model = trainer.policy_model
    trainer.train()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_bytes()))
