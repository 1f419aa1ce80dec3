"""Train a challenger by direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) with a LoRA adapter and an SFT term.

Rows come from a snapshot's training stratum or a file of preferences; the adapter goes to the artifact store. Every run starts from the
base model, which is also the reference: a run is never a run on top of a run.
"""

import contextlib
import ctypes
import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from storage.errors import DataRefused
from storage.events import Message
from trainers.data.preference import Preference

if TYPE_CHECKING:
    from trainers.models.chat_format import ChatFormat

Progress = Callable[[int, int, Mapping[str, float]], None]  # step, steps, metrics
MIN_PROMPT = 16  # tokens
ADAPTER = "policy"  # the folder under a run's output that holds the finished adapter


class DPOSettings(BaseModel):
    """How a challenger is trained. The defaults are those that held for the shipped model.

    Attributes
    ----------
    beta : how strongly the reference holds the policy
    sft_weight : weight of the negative log-likelihood of the chosen reply beside the preference loss; it keeps copied facts right
    learning_rate, epochs, batch, gradient_accumulation, warmup : of the optimiser; the batch is that of one device, the warm-up a share of
        the steps
    lora_rank, lora_alpha, lora_modules : of the adapter; the modules' names, or ``all-linear``
    half_life_days : a judgment this much older than the newest is kept with probability one half (and so on); None keeps all
    least_rows : fewer decisive comparisons than this are not trained on
    max_length : tokens of a row; a longer prompt loses its oldest turns, a row whose reply does not fit is left out and counted
    checkpoints : how many are written in a training, for a run that is killed to go on from
    seed : of the order of rows and of the adapter's first weights
    bf16, gradient_checkpointing : None means yes on a GPU and no on a CPU, where they only cost
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    beta: Annotated[float, Field(gt=0)] = 0.3
    sft_weight: Annotated[float, Field(ge=0)] = 1.0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    epochs: Annotated[int, Field(ge=1)] = 3
    batch: Annotated[int, Field(ge=1)] = 8
    gradient_accumulation: Annotated[int, Field(ge=1)] = 1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    lora_rank: Annotated[int, Field(ge=1)] = 8
    lora_alpha: Annotated[int, Field(ge=1)] = 16
    lora_modules: str | tuple[str, ...] = "all-linear"
    max_length: Annotated[int, Field(ge=32)] = 1024
    half_life_days: Annotated[float, Field(gt=0)] | None = 180
    least_rows: Annotated[int, Field(ge=1)] = 32
    checkpoints: Annotated[int, Field(ge=1)] = 4
    bf16: bool | None = None
    gradient_checkpointing: bool | None = None
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """The finished adapter, on how many rows it learnt in how many steps, and the last metrics that training logged.

    ``too_long`` rows were left out, because a reply and ``MIN_PROMPT`` tokens of its prompt do not fit into ``max_length`` together.
    """

    adapter: Path
    rows: int
    steps: int
    metrics: Mapping[str, float]
    too_long: int = 0


def admissible(rows: Iterable[Preference], half_life_days: float | None) -> list[Preference]:
    """The rows to train on: one for each pair of replies, old ones thinned.

    Where several people judged a pair, the majority decides and an even split gives no row. Of rows ``h`` half-lives older than the newest
    a share of 2^-h stays. Which ones is decided by a hash of the row, so that a run with more data keeps what an earlier run kept.
    """
    votes: Counter[tuple[tuple[Message, ...], str, str]] = Counter()
    latest: dict[tuple[tuple[Message, ...], str, str], Preference] = {}
    for row in rows:
        if row.chosen == row.rejected:
            continue
        key = (row.prompt, row.chosen, row.rejected)
        votes[key] += 1
        held = latest.get(key)
        if held is None or _later(row.occurred_at, held.occurred_at):
            latest[key] = row
    agreed = [row for key, row in latest.items() if votes[key] > votes[key[0], key[2], key[1]]]
    moments = [row.occurred_at for row in agreed if row.occurred_at is not None]
    if half_life_days is None or not moments:
        return agreed
    newest = max(moments)
    return [row for row in agreed if row.occurred_at is None or _lot(row) < 0.5 ** ((newest - row.occurred_at) / timedelta(half_life_days))]


def _characters(row: Preference) -> int:
    return sum(len(message.content) for message in row.prompt) + max(len(row.chosen), len(row.rejected))


def _later(moment: datetime | None, other: datetime | None) -> bool:
    return moment is not None and (other is None or moment > other)


def _lot(row: Preference) -> float:
    """A number in [0, 1) that belongs to the row."""
    text = "\x1e".join([*(f"{m.role}\x1f{m.content}" for m in row.prompt), row.chosen, row.rejected])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def train_dpo(base: str, rows: Iterable[Preference], settings: DPOSettings, output: Path, progress: Progress) -> Trained:
    """Train an adapter on ``base`` and write it to ``output/policy``; a killed training goes on from its last checkpoint.

    Parameters
    ----------
    base : the base model, as :func:`trainers.models.policy.resolve_model` takes it; it is also the reference
    rows : decisive comparisons; see :func:`admissible` for what is left of them
    output : a folder of this training's own; its checkpoints are removed at the end
    progress : called with step, steps and the metrics ``loss``, ``reward_margin`` and ``reward_accuracy``

    Raises
    ------
    DataRefused
        Fewer rows are left than ``settings.least_rows``.
    ModelNotFound
        ``base`` is not there.
    """
    kept = admissible(rows, settings.half_life_days)
    if len(kept) < settings.least_rows:
        raise DataRefused(f"{len(kept)} decisive comparisons are too few to train on; at least {settings.least_rows} are needed")

    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import PrinterCallback, set_seed

    from trainers.models.policy import load_policy
    from trainers.policy.batching import TokenizedDPO

    disable_progress_bars()
    _keep_memory()
    set_seed(settings.seed)
    policy = load_policy(base)
    policy.tokenizer.padding_side = "right"
    tokenized = [_tokenized(row, policy.chat, settings.max_length) for row in sorted(kept, key=_characters)]
    rows_of_ids = [row for row in tokenized if row is not None]
    too_long = len(tokenized) - len(rows_of_ids)
    if len(rows_of_ids) < settings.least_rows:
        raise DataRefused(
            f"{too_long} of {len(kept)} comparisons do not fit into max_length = {settings.max_length} tokens, and the rest is too little"
            " to train on; raise max_length in the method's section"
        )
    dataset = Dataset.from_list(rows_of_ids)  # rows of a length together: less padding in the reference's pass
    checkpoints = output / "checkpoints"
    reporter = _reporter(progress)
    with _quiet(), _scored_at_replies():
        trainer = TokenizedDPO(
            model=policy.model,
            args=_arguments(settings, checkpoints, len(rows_of_ids)),
            train_dataset=dataset,
            processing_class=policy.tokenizer,
            peft_config=LoraConfig(
                r=settings.lora_rank,
                lora_alpha=settings.lora_alpha,
                lora_dropout=0.0,
                target_modules=settings.lora_modules if isinstance(settings.lora_modules, str) else list(settings.lora_modules),
                task_type="CAUSAL_LM",
            ),
            callbacks=[reporter],
        )
        trainer.remove_callback(PrinterCallback)  # it prints every step's metrics
        trainer.train(resume_from_checkpoint=_last_checkpoint(checkpoints))
    adapter = _write_adapter(trainer.model, base, output / ADAPTER)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return Trained(adapter, len(rows_of_ids), trainer.state.global_step, reporter.latest, too_long)


def _tokenized(row: Preference, chat: "ChatFormat", max_length: int) -> dict[str, list[int]] | None:
    """The row as tokens, its prompt without the oldest turns that do not fit; None where a reply alone is too long."""
    chosen, rejected = chat.reply_ids(row.chosen), chat.reply_ids(row.rejected)
    room = max_length - max(len(chosen), len(rejected))
    if room < MIN_PROMPT:
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
        max_length=None,  # rows are cut before, at the beginning of their prompts
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


def _last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint. The trainer writes ``trainer_state.json`` last: one without it was cut short and is removed."""
    found = []
    for path in folder.glob("checkpoint-*"):
        if (path / "trainer_state.json").is_file() and _is_json(path / "trainer_state.json"):
            found.append(path)
        else:
            shutil.rmtree(path)
    return str(max(found, key=lambda path: int(path.name.rpartition("-")[2]))) if found else None


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _write_adapter(model: Any, base: str, folder: Path) -> Path:
    """The adapter alone, without a card, so that the same training gives the same bytes."""
    half = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    model.save_pretrained(str(half), safe_serialization=True)
    (half / "README.md").unlink(missing_ok=True)
    config = json.loads((half / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base  # as it was named, not the place that it was found at
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    (half / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)
    return folder


def _keep_memory() -> None:
    """Let glibc keep large blocks instead of mapping and clearing them anew at every step, which took a fifth of training on a CPU."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:
        for parameter, value in ((-3, 1 << 30), (-1, 2**31 - 1)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            mallopt(parameter, value)


@contextlib.contextmanager
def _scored_at_replies() -> Iterator[None]:
    """Let TRL 1.16 project only reply positions onto the vocabulary, as it does where Triton runs.

    On a CPU it projects the prompts' positions too and masks the result away: the same numbers, a fifth slower with the shipped model.
    """
    import trl.trainer.utils

    fused: Any = trl.trainer.utils
    before = fused._use_triton
    fused._use_triton = lambda device: True
    try:
        yield
    finally:
        fused._use_triton = before


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """TRL's progress bar knows only this variable."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before
