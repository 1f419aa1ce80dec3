"""Train a challenger by direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) with a LoRA adapter and an SFT term.

Rows come from a snapshot's training stratum or a preference file; the adapter goes to the artifact store. Every run starts from the base
model, which is also the reference; runs are never stacked.
"""

import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from storage.errors import DataRefused
from trainers.data.preference import Preference
from trainers.models.checkpoints import last_checkpoint
from trainers.policy.adapters import ADAPTER, LoRASettings, write_adapter
from trainers.policy.comparisons import admissible
from trainers.policy.training import Progress, Trained
from trainers.policy.workarounds import reply_logits_only, tqdm_disabled

if TYPE_CHECKING:
    from trainers.models.chat_format import ChatFormat

MIN_PROMPT_TOKENS = 16


class DPOSettings(LoRASettings):
    """Hyperparameters of DPO training. The defaults were tuned on the shipped model.

    Attributes
    ----------
    beta : strength of the KL penalty towards the reference
    sft_weight : weight of the chosen reply's negative log-likelihood in the loss; it keeps copied facts correct
    learning_rate, epochs, batch, gradient_accumulation, warmup : of the optimiser; ``batch`` is per device, ``warmup`` a share of the steps
    half_life_days : a judgment this much older than the newest is kept with probability 1/2, twice as old with 1/4, ...; None keeps all
    least_rows : minimum number of decisive comparisons to train on
    max_length : maximum tokens per row; a longer prompt loses its oldest turns, a row whose reply does not fit is dropped and counted
    checkpoints : number of checkpoints per training, from which a killed run resumes
    seed : of row order and adapter initialisation
    bf16, gradient_checkpointing : None enables them on a GPU and disables them on a CPU, where they only add cost
    """

    beta: Annotated[float, Field(gt=0)] = 0.3
    sft_weight: Annotated[float, Field(ge=0)] = 1.0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 3
    batch: Annotated[int, Field(ge=1)] = 8
    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_length: Annotated[int, Field(ge=32)] = 1024
    half_life_days: Annotated[float, Field(gt=0)] | None = 180
    least_rows: Annotated[int, Field(ge=1)] = 32
    checkpoints: Annotated[int, Field(ge=1)] = 4
    bf16: bool | None = None
    gradient_checkpointing: bool | None = None
    seed: int = 0


def train_dpo(base: str, rows: Iterable[Preference], settings: DPOSettings, output: Path, progress: Progress) -> Trained:
    """Train an adapter on ``base`` and write it to ``output/policy``; an interrupted training resumes from its last checkpoint.

    Parameters
    ----------
    base : the base model, as accepted by :func:`trainers.models.policy.resolve_model`; also the reference
    rows : decisive comparisons, filtered by :func:`admissible`
    output : a folder for this training only; its checkpoints are removed at the end
    progress : called with step, steps and the metrics ``loss``, ``reward_margin`` and ``reward_accuracy``

    Raises
    ------
    DataRefused
        Fewer rows are left than ``settings.least_rows``.
    ModelNotFound
        ``base`` does not exist.
    """
    selected = admissible(rows, settings.half_life_days)
    if len(selected) < settings.least_rows:
        raise DataRefused(f"{len(selected)} decisive comparisons are too few to train on; at least {settings.least_rows} are needed")

    from datasets import Dataset, disable_progress_bars
    from transformers import PrinterCallback, set_seed

    from trainers.models.policy import load_policy
    from trainers.policy.batching import TokenizedDPO

    disable_progress_bars()
    set_seed(settings.seed)
    policy = load_policy(base)
    policy.tokenizer.padding_side = "right"
    tokenized = [_tokenized(row, policy.chat, settings.max_length) for row in sorted(selected, key=_characters)]
    rows_of_ids = [row for row in tokenized if row is not None]
    too_long = len(tokenized) - len(rows_of_ids)
    if len(rows_of_ids) < settings.least_rows:
        raise DataRefused(
            f"{too_long} of {len(selected)} comparisons do not fit into max_length = {settings.max_length} tokens, which leaves too few to"
            " train on; raise max_length in the method's section"
        )
    dataset = Dataset.from_list(rows_of_ids)  # sorted by length: less padding in the reference pass
    checkpoints = output / "checkpoints"
    reporter = _reporter(progress)
    with tqdm_disabled(), reply_logits_only():
        trainer = TokenizedDPO(
            model=policy.model,
            args=_arguments(settings, checkpoints, len(rows_of_ids)),
            train_dataset=dataset,
            processing_class=policy.tokenizer,
            peft_config=settings.lora(),
            callbacks=[reporter],
        )
        trainer.remove_callback(PrinterCallback)  # it prints every step's metrics
        trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    adapter = write_adapter(trainer.model, base, output / ADAPTER)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return Trained(adapter, len(rows_of_ids), trainer.state.global_step, reporter.latest, too_long)


def _characters(row: Preference) -> int:
    return sum(len(message.content) for message in row.prompt) + max(len(row.chosen), len(row.rejected))


def _tokenized(row: Preference, chat: "ChatFormat", max_length: int) -> dict[str, list[int]] | None:
    """The row as token ids, without the oldest turns of a prompt that is too long; None if a reply alone is too long."""
    chosen, rejected = chat.reply_ids(row.chosen), chat.reply_ids(row.rejected)
    room = max_length - max(len(chosen), len(rejected))
    if room < MIN_PROMPT_TOKENS:
        return None
    return {"prompt_ids": chat.fitted_ids(row.prompt, room), "chosen_ids": chosen, "rejected_ids": rejected}


def _arguments(settings: DPOSettings, folder: Path, rows: int) -> Any:
    import torch
    from trl.trainer.dpo_config import DPOConfig

    gpu = torch.cuda.is_available()
    steps = math.ceil(math.ceil(rows / settings.batch) / settings.gradient_accumulation) * settings.epochs
    losses = {"sigmoid": 1.0, "sft": settings.sft_weight} if settings.sft_weight else {"sigmoid": 1.0}
    return DPOConfig(
        output_dir=str(folder),
        beta=settings.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup * steps),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.gradient_accumulation,
        max_length=None,  # _tokenized has truncated the rows, at the start of their prompts
        precompute_ref_log_probs=True,
        use_cpu=not gpu,
        bf16=gpu if settings.bf16 is None else settings.bf16,
        gradient_checkpointing=gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing,
        dataloader_pin_memory=gpu,
        dataloader_num_workers=0,  # tokenised rows in memory: a worker process costs more than it saves
        eval_strategy="no",
        save_strategy="steps",
        save_steps=max(1, math.ceil(steps / settings.checkpoints)),
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
        data_seed=settings.seed,
    )


def _reporter(progress: Progress) -> Any:
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):
        latest: Mapping[str, float] = {}

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float] | None = None, **kwargs: Any) -> None:
            names = {"loss": "loss", "rewards/margins": "reward_margin", "rewards/accuracies": "reward_accuracy"}
            metrics = {ours: float(logs[theirs]) for theirs, ours in names.items() if logs and theirs in logs}
            if metrics:
                self.latest = metrics
                progress(state.global_step, state.max_steps, metrics)

    return Reporter()
