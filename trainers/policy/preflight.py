"""What can be known to be wrong before a training: checked in seconds, before a reward model is fitted or weights are loaded."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from storage.errors import ConfigurationError, TrainingError
from trainers.policy.adapters import LoRASettings

FLOATS_OF_A_CHECKPOINT = 3  # for each weight of the adapter: itself, and two moments of the optimiser
CHECKPOINTS = 3  # two are kept, and the next one is written before the older of them goes
ADAPTERS = 2  # the finished one, and its copy in the artifact store
TOKENIZER_AND_LOGS = 32_000_000  # bytes


def preflight(base: str, settings: LoRASettings, folder: Path, reply_tokens: int = 0) -> None:
    """Raise what would otherwise end the training of an adapter for ``base`` after minutes or hours.

    Parameters
    ----------
    folder : of the training
    reply_tokens : of the longest reply that is sampled

    Raises
    ------
    ConfigurationError
        A library for ``settings.quantization`` is missing, no module is named ``settings.lora_modules``, replies leave no room for a
        prompt, or ``folder`` cannot be written to.
    ModelNotFound
        The model or its tokenizer is missing or damaged, or its chat template cannot be used.
    TrainingError
        The disk of ``folder`` has no room for what the training writes.
    """
    from trainers.models.chat_format import ChatFormat
    from trainers.models.policy import check_quantization, check_window, config_of, load_tokenizer, window_of

    output_folder(folder)
    check_quantization(base, settings.quantization)
    ChatFormat(load_tokenizer(base), base)
    check_window(window_of(config_of(base)), reply_tokens)
    needed = bytes_written(adapter_weights(base, settings))
    if (free := shutil.disk_usage(folder).free) < needed:
        raise TrainingError(
            f"{folder}: {_size(free)} are free, and checkpoints and adapter take up to {_size(needed)}: free some, name another folder, "
            f"or lower lora_rank = {settings.lora_rank}"
        )


def output_folder(folder: Path) -> Path:
    """Make the folder for what is trained or measured.

    Raises
    ------
    ConfigurationError
        It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # of a name of its own: several processes may ask at once
            pass
    except OSError as error:
        raise ConfigurationError(f"{folder}: it cannot be written to ({error.strerror}); name another folder") from error
    return folder


def adapter_weights(base: str, settings: LoRASettings) -> int:
    """The number of an adapter's weights, from the model's config; no weights are read."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from trainers.models.policy import config_of, naming_errors

    auto: Any = AutoModelForCausalLM
    with naming_errors(base), torch.device("meta"):
        model = auto.from_config(config_of(base))
    try:
        found = get_peft_model(model, settings.lora())
    except ValueError as error:
        raise ConfigurationError(f"lora_modules = {settings.lora_modules!r}: {error}") from error
    return sum(parameter.numel() for parameter in found.parameters() if parameter.requires_grad)


def bytes_written(weights: int) -> int:
    """The most that a training has on the disk at a time, for an adapter of so many weights in float32."""
    return 4 * weights * (FLOATS_OF_A_CHECKPOINT * CHECKPOINTS + ADAPTERS) + TOKENIZER_AND_LOGS


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
