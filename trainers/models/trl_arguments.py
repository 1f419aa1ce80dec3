"""The arguments that all trainings with a trainer of TRL or transformers share."""

import math
from pathlib import Path
from typing import Any, Protocol

from trainers.models.precision import Precision


class Schedule(Protocol):
    """The settings that decide them: of a policy training by TRL, or of a transformer reward model."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def gradient_accumulation(self) -> int: ...
    @property
    def warmup(self) -> float: ...
    @property
    def checkpoints(self) -> int: ...
    @property
    def gradient_checkpointing(self) -> bool | None: ...
    @property
    def seed(self) -> int: ...


def trl_arguments(settings: Schedule, folder: Path, rows: int, precision: Precision, processes: int = 1) -> dict[str, Any]:
    """Keyword arguments of a config for ``rows`` rows, with checkpoints in ``folder``; the rows have been cut to length already."""
    import torch

    gpu = torch.cuda.is_available()
    steps = math.ceil(math.ceil(rows / settings.batch / processes) / settings.gradient_accumulation) * settings.epochs
    return {
        "output_dir": str(folder),
        "learning_rate": settings.learning_rate,
        "warmup_steps": math.ceil(settings.warmup * steps),
        "num_train_epochs": settings.epochs,
        "per_device_train_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "max_length": None,
        "use_cpu": not gpu,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "gradient_checkpointing": gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing,
        "dataloader_pin_memory": gpu,
        "dataloader_num_workers": 0,  # tokenised rows in memory: a worker process costs more than it saves
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": max(1, math.ceil(steps / settings.checkpoints)),
        "save_total_limit": 2,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would report a loss that is not a number as 0
        "report_to": "none",
        "disable_tqdm": True,
        "seed": settings.seed,
        "data_seed": settings.seed,
    }
