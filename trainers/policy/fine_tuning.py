"""What the trainings with a trainer of TRL share: settings, arguments, progress, and how they resume and end."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from storage.errors import DataRefused, Diverged, TrainingError
from trainers.models.checkpoints import last_checkpoint
from trainers.models.precision import Precision, precision_of
from trainers.models.trl_arguments import trl_arguments
from trainers.policy.adapters import ADAPTER, LoRASettings, write_adapter
from trainers.policy.divergence import check_step
from trainers.policy.preflight import preflight
from trainers.policy.reply_samples import ReplySampler
from trainers.policy.training import Progress, Trained
from trainers.policy.workarounds import reply_logits_only, tqdm_disabled

if TYPE_CHECKING:
    from trainers.models.policy import Policy

MIN_PROMPT_TOKENS = 16  # that must fit into max_length beside the reply
Row = dict[str, Any]


class FineTuningSettings(LoRASettings):
    """Settings that SFT, DPO and KTO share. The defaults were tuned on the shipped model.

    Attributes
    ----------
    learning_rate, epochs, batch, gradient_accumulation, warmup : of the optimiser; ``batch`` is per device, ``warmup`` a share of the steps
    least_rows : minimum number of rows to train on
    max_length : maximum tokens per row, at most the model's window; a longer prompt loses its oldest turns, a row whose reply does not fit
        is dropped and counted
    checkpoints : number of checkpoints per training, from which a killed run resumes
    seed : of row order and adapter initialisation
    precision : to compute in: ``bf16``, ``fp16`` or ``fp32``; None takes what the GPU does best, and on a CPU bf16 for a large model where
        it is native, else fp32
    gradient_checkpointing : None enables it on a GPU and disables it on a CPU, where it only adds cost
    """

    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 3
    batch: Annotated[int, Field(ge=1)] = 8
    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_length: Annotated[int, Field(ge=32)] = 1024
    least_rows: Annotated[int, Field(ge=1)] = 32
    checkpoints: Annotated[int, Field(ge=1)] = 4
    precision: Precision | None = None
    gradient_checkpointing: bool | None = None
    seed: int = 0


def fine_tune(
    base: str,
    rows: Sequence[Any],
    tokenized: Callable[[Any, "Policy"], Row | None],
    trainer: Callable[..., Any],
    arguments: Callable[..., Any],
    metrics: Mapping[str, str],
    settings: FineTuningSettings,
    output: Path,
    progress: Progress,
    **options: Any,
) -> Trained:
    """Train an adapter on ``base`` and write it to ``output/policy``; an interrupted training resumes from its last checkpoint.

    Parameters
    ----------
    rows : what to train on, in an order that does not depend on when it was read
    tokenized : a row's token ids; None if it does not fit into ``settings.max_length``
    trainer, arguments : TRL's trainer for tokenised rows, and its config
    metrics : our names of what TRL logs
    options : of the config

    Raises
    ------
    DataRefused
        Fewer rows are left than ``settings.least_rows``.
    ModelNotFound
        ``base`` does not exist.
    TrainingError
        The GPU's memory or the disk is too small, or the training diverged.
    """
    import torch
    from datasets import disable_progress_bars
    from transformers import PrinterCallback, set_seed

    from trainers.models.policy import Policy, load_policy

    preflight(base, settings, output)
    disable_progress_bars()
    set_seed(settings.seed)
    policy = load_policy(base, quantization=settings.quantization, device_map=settings.device_map)
    policy.tokenizer.padding_side = "right"
    found = [row for each in rows if (row := tokenized(each, policy)) is not None]
    too_long = len(rows) - len(found)
    if len(found) < settings.least_rows:
        raise DataRefused(f"{too_long} of {len(rows)} rows do not fit into {_limit(policy, settings)}, which leaves too few to train on")
    checkpoints = output / "checkpoints"
    reporter = _reporter(progress, metrics)
    sampler = ReplySampler((each.prompt for each in rows), settings.shown_prompts, output)
    precision = precision_of(settings.precision, policy.model.num_parameters())
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # set by a launcher
    shared = trl_arguments(settings, checkpoints, len(found), precision, processes)
    with tqdm_disabled(), reply_logits_only():
        training = trainer(
            model=policy.model,
            args=arguments(**shared, lr_scheduler_type="cosine", **options),
            train_dataset=_dataset(found, output / "rows"),
            processing_class=policy.tokenizer,
            peft_config=settings.lora(),
            callbacks=[reporter],
        )
        training.remove_callback(PrinterCallback)  # it prints every step's metrics
        shown = Policy(training.model.get_base_model(), policy.tokenizer, policy.name)  # with the adapter's layers in place
        if training.accelerator.is_main_process:
            training.add_callback(_replies_at_checkpoints(lambda step: sampler.sample(step, shown)))
        try:
            training.train(resume_from_checkpoint=last_checkpoint(checkpoints))
        except Diverged:
            shutil.rmtree(checkpoints, ignore_errors=True)  # of a training that was going wrong
            raise
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"batch = {settings.batch} does not fit into the GPU's memory; set batch = {max(settings.batch // 2, 1)} and "
                f"gradient_accumulation = {2 * settings.gradient_accumulation}, which gives the same steps, or quantization = '4bit'"
            ) from error
    adapter = output / ADAPTER
    if training.accelerator.is_main_process:
        write_adapter(training.model, base, adapter)
        for used in (checkpoints, output / "rows"):
            shutil.rmtree(used, ignore_errors=True)
    training.accelerator.wait_for_everyone()
    return Trained(adapter, len(found), training.state.global_step, reporter.latest, too_long)


def prompt_room(longest_reply: int, policy: "Policy", settings: FineTuningSettings) -> int | None:
    """Tokens that are left for a row's prompt, within ``max_length`` and the model's window; None if too few for a prompt."""
    room = min(settings.max_length, policy.window) - longest_reply
    return room if room >= MIN_PROMPT_TOKENS else None


def _limit(policy: "Policy", settings: FineTuningSettings) -> str:
    if policy.window < settings.max_length:
        return f"the model's window of {policy.window} tokens: shorten the replies, or take a model with a longer one"
    return f"max_length = {settings.max_length} tokens: raise max_length in the method's section"


def enough(rows: Sequence[Any], what: str, settings: FineTuningSettings) -> None:
    """Refuse fewer rows than ``settings.least_rows``, before a model is loaded."""
    if len(rows) < settings.least_rows:
        raise DataRefused(f"{len(rows)} {what} are too few to train on; at least {settings.least_rows} are needed")


def _dataset(rows: Sequence[Row], folder: Path) -> Any:
    """The rows in memory or, for several processes, in ``folder``: beside it TRL keeps what the processes compute together."""
    from accelerate import PartialState
    from datasets import Dataset, load_from_disk

    state = PartialState()
    if state.num_processes == 1:
        return Dataset.from_list(list(rows))
    if state.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        Dataset.from_list(list(rows)).save_to_disk(str(folder))
    state.wait_for_everyone()
    return load_from_disk(str(folder))


def _reporter(progress: Progress, names: Mapping[str, str]) -> Any:
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        latest: Mapping[str, float] = {}

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kwargs: Any) -> None:
            check_step(state.global_step, state.max_steps, logs or {}, args.learning_rate)
            metrics = {ours: float(logs[theirs]) for theirs, ours in names.items() if logs and theirs in logs}
            if metrics:
                self.latest = metrics
                progress(state.global_step, state.max_steps, metrics)

    return Reporter()


def _replies_at_checkpoints(sample: Callable[[int], None]) -> Any:
    from transformers import TrainerCallback

    class Replies(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 0:
                sample(0)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step % args.save_steps == 0 or state.global_step == state.max_steps:
                sample(state.global_step)

    return Replies()
