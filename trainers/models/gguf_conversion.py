"""Converts a GGUF file of a Llama into a folder that ``from_pretrained`` reads without gguf: dequantised, in float32, as safetensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def convert(file: Path, folder: Path, *, end: str, padding: str) -> None:
    """Write the model and the tokenizer of ``file`` to ``folder``.

    Parameters
    ----------
    end, padding : the tokens that end a turn and fill a batch; what transformers reads from a GGUF file can be others
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    place, name = str(file.parent), file.name
    with _no_progress_bars():
        tokenizer: Any = AutoTokenizer.from_pretrained(place, gguf_file=name)
        tokenizer.eos_token, tokenizer.pad_token = end, padding
        loaded: Any = AutoModelForCausalLM.from_pretrained(place, gguf_file=name, dtype=torch.float32)
        config = loaded.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config  # the weights are not quantised any more, and with it they cannot be saved
        config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
        model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
        model.load_state_dict(loaded.state_dict())
        model.to(torch.float32).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from transformers.utils import logging as library

    logging: Any = library
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
