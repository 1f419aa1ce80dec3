"""DPO by TRL's own trainer, with its best flags for a CPU: the other side of ``benchmarks.policy.dpo``."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from trainers.data.preference import Preference
from trainers.models.policy import load_policy
from trainers.policy.dpo import DPOSettings
from trainers.policy.trl_trainers import TokenizedDPO


class InOurOrder(DPOTrainer):  # type: ignore[misc, unused-ignore]
    """TRL's trainer with the batches that ours takes."""

    _get_train_sampler = TokenizedDPO._get_train_sampler
    _lengths = TokenizedDPO._lengths


def train_by_trl(rows: Sequence[Preference], settings: DPOSettings, folder: Path, trainer: Callable[..., Any] = DPOTrainer) -> list[float]:
    """Train the shipped model with the loss, optimiser and number of steps of ``train_dpo``; return the loss of each step."""
    disable_progress_bars()
    set_seed(settings.seed)
    policy = load_policy("shipped")
    policy.tokenizer.padding_side = "right"
    steps = math.ceil(len(rows) / settings.batch) * settings.epochs
    arguments = DPOConfig(
        output_dir=str(folder),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup * steps),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        max_length=None,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        precompute_ref_log_probs=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
        beta=settings.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, settings.sft_weight],
    )
    training = trainer(
        model=policy.model,
        args=arguments,
        train_dataset=Dataset.from_list([_record(row) for row in rows]),
        processing_class=policy.tokenizer,
        peft_config=settings.lora(),
    )
    training.remove_callback(PrinterCallback)
    training.train()
    training.save_model(str(folder / "policy"))
    return [entry["loss"] for entry in training.state.log_history if "loss" in entry]


def _record(row: Preference) -> dict[str, Any]:
    return {
        "prompt": [message.model_dump() for message in row.prompt],
        "chosen": [{"role": "assistant", "content": row.chosen}],
        "rejected": [{"role": "assistant", "content": row.rejected}],
    }
