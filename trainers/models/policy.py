"""Load a language model with its tokenizer and adapters.

Models come from a setting (``shipped``, a folder or a Hugging Face id) and adapters from the artifact store.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.peft_utils import find_adapter_config_file

from storage.errors import ConfigurationError, ModelNotFound
from trainers.models.chat_format import ChatFormat
from trainers.models.model_files import check_adapter, check_model
from trainers.models.precision import precision_of, weights_dtype
from trainers.models.references import layers
from trainers.policy.workarounds import keep_four_bit_weights_differentiable


@dataclass
class Policy:
    """A language model with its tokenizer; ``name`` is the reference it was loaded from."""

    model: Any  # transformers.PreTrainedModel, or a PeftModel if the adapter was not merged
    tokenizer: Any  # transformers.PreTrainedTokenizerBase
    name: str

    @cached_property
    def chat(self) -> ChatFormat:
        """The chat format of this model."""
        return ChatFormat(self.tokenizer, self.name)

    @property
    def ends(self) -> tuple[int, ...]:
        """Every token that ends a reply."""
        configured = self.model.generation_config.eos_token_id
        found = configured if isinstance(configured, list) else [configured]
        return tuple(sorted({token for token in [*found, self.tokenizer.eos_token_id, self.chat.end] if token is not None}))

    @property
    def window(self) -> int:
        """Maximum number of tokens of prompt and reply together."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1_000_000)


def load_policy(
    ref: str, adapter: Path | None = None, *, merge: bool = True, quantization: str | None = None, device_map: str | None = None
) -> Policy:
    """Load ``ref`` with an optional LoRA adapter, merged into its weights (fastest to sample from) or kept separate.

    ``ref`` may itself be an adapter's folder; its base is the one named in its ``adapter_config.json``.

    Parameters
    ----------
    quantization : ``4bit`` loads the linear layers as 4-bit NormalFloat (Dettmers et al. 2023, arXiv:2305.14314), to train an adapter on
    device_map : as in ``transformers``: ``auto`` spreads the layers over all GPUs; None puts them on one

    Raises
    ------
    ConfigurationError
        bitsandbytes is not installed, or ``ref`` is an adapter and is to be quantised.
    ModelNotFound
        The model or the adapter is missing, is damaged, contains a pickle, or could not be fetched.
    """
    base, below = layers(ref)
    adapters = below if adapter is None else (*below, adapter)
    if Path(base).is_dir():
        check_model(Path(base))
    elif find_adapter_config_file(base) is not None:  # transformers would load the adapter itself, even from a pickle
        raise ModelNotFound(f"{base}: an adapter; fetch it with `hf download {base} --local-dir FOLDER` and give the folder")
    for folder in adapters:
        check_adapter(folder)
    if quantization is not None and adapters:
        raise ConfigurationError(
            f"{ref}: an adapter cannot be merged into {quantization} weights; train on its base, or without quantization"
        )
    tokenizer = load_tokenizer(ref)
    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"  # a launcher gives each process a GPU
    options: dict[str, Any] = {"dtype": weights_dtype()}
    if quantization is not None:
        options |= {"quantization_config": _four_bit(), "device_map": device_map or device}
    elif device_map is not None:
        options["device_map"] = device_map
    model = _load_model(base, _name(base, below), options)
    if quantization is not None:
        keep_four_bit_weights_differentiable(model)
    for folder in adapters:
        from peft import PeftModel

        with _naming_errors(str(folder)):
            model = PeftModel.from_pretrained(model, str(folder))
        if merge or folder is not adapter:
            model = model.merge_and_unload()
    placed = model if "device_map" in options else model.to(device)
    return Policy(placed.eval(), tokenizer, ref if adapter is None else f"{ref} + {adapter.name}")


def _four_bit() -> Any:
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise ConfigurationError("quantization = '4bit' needs bitsandbytes, which is not installed: pip install 'feedbackloop[qlora]'")
    compute = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision_of(None)]
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute)  # type: ignore[no-untyped-call]


def _load_model(place: str, name: str, options: dict[str, Any]) -> Any:
    with _naming_errors(name):
        loaded: Any = AutoModelForCausalLM.from_pretrained(place, use_safetensors=True, output_loading_info=True, **options)
    model, found = loaded
    if missing := sorted(found["missing_keys"]):  # transformers would initialise them at random
        raise ModelNotFound(f"{name}: {len(missing)} of its weights are missing, {missing[0]} the first; copy or download it again")
    return model


def _name(base: str, adapters: tuple[Path, ...]) -> str:
    return f"{base} (the base of {adapters[0]})" if adapters else base


def load_tokenizer(ref: str) -> Any:
    """The tokenizer of ``ref`` with a padding token; an adapter's own if its folder holds one."""
    base, adapters = layers(ref)
    own = next((str(folder) for folder in reversed(adapters) if (folder / "tokenizer_config.json").is_file()), None)
    with _naming_errors(f"{own or _name(base, adapters)}, its tokenizer"):
        try:
            tokenizer = AutoTokenizer.from_pretrained(own or base, padding_side="left")
        except Exception as error:
            if type(error) is not Exception:  # tokenizers raises plain Exception
                raise
            raise ValueError(f"tokenizer.json: {error}") from error
    _drop_empty_tokens(tokenizer)
    if tokenizer.eos_token is None:
        with _naming_errors(ref):
            end = AutoConfig.from_pretrained(base).get_text_config().eos_token_id
        end = end[0] if isinstance(end, list) else end
        tokenizer.eos_token = None if end is None else tokenizer.convert_ids_to_tokens(end)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _drop_empty_tokens(tokenizer: Any) -> None:
    """Unset special tokens that are empty strings, which would match in every text.

    Chat templates may concatenate them, so there they remain defined as empty strings.
    """
    empty = [name for name, token in tokenizer.special_tokens_map.items() if token == ""]
    for name in empty:
        setattr(tokenizer, name, None)
    if isinstance(tokenizer.chat_template, str):
        tokenizer.chat_template = "".join(f"{{% set {name} = '' %}}" for name in empty) + tokenizer.chat_template


@contextlib.contextmanager
def _naming_errors(ref: str) -> Iterator[None]:
    """Name the model in errors: transformers raises OSError for anything from a typo to a missing network."""
    try:
        yield
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelNotFound(
            f"{ref}: no model could be loaded ({reason}); give a folder that holds one, or an id that is in the local Hugging Face cache "
            "or can be fetched from here"
        ) from error
