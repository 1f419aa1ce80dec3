"""Tiny random models of five kinds that people train: their architectures, chat templates, special tokens, and a window of 160 tokens.

The templates are written here in the manner of the public ones: what they refuse, and which token ends a turn.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WINDOW = 160  # tokens; a long row has more
ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
)
GEMMA = (  # no system role, alternating turns, a model instead of an assistant
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}" + ALTERNATE + "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\n' }}"
    "{{ message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA_3 = (
    "{% for message in messages %}{% if loop.first %}{{ bos_token }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN = (  # a system message of its own where there is none
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe helpful.<|im_end|>\n' }}{% endif %}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MISTRAL = (  # no system role, alternating turns, EOS after a reply only
    "{{ bos_token }}{% for message in messages %}" + ALTERNATE + "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] + eos_token }}{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Attributes
    ----------
    architecture : name of the config class in transformers, without ``Config``
    end : the token that ends a reply
    special : all special tokens
    tokens : the ones that the tokenizer declares
    """

    architecture: str
    template: str | None
    end: str
    special: tuple[str, ...]
    tokens: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "gemma": Kind(
        "Gemma", GEMMA, "<end_of_turn>", ("<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}, {"head_dim": 16},
    ),
    "gpt-2": Kind("GPT2", None, "<|endoftext|>", ("<|endoftext|>",), {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}),
    "llama-3": Kind(
        "Llama", LLAMA_3, "<|eot_id|>",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    ),
    "qwen": Kind(
        "Qwen2", QWEN, "<|im_end|>", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
    "mistral": Kind("Mistral", MISTRAL, "</s>", ("<unk>", "<s>", "</s>"), {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}),
}  # fmt: skip


def write_model(kind: Kind, folder: Path, **changed: Any) -> Path:
    """Save a model of this kind with random weights; ``changed`` are special tokens of its tokenizer."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = [*kind.special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: Any = transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, additional_special_tokens=list(kind.special), **{**kind.tokens, **changed}
    )
    fast.chat_template = kind.template
    sizes: dict[str, Any] = {
        "vocab_size": len(fast), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "max_position_embeddings": WINDOW, "initializer_range": 0.15,
    }  # fmt: skip
    if kind.architecture == "GPT2":
        sizes = {"vocab_size": len(fast), "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": WINDOW, "initializer_range": 0.15}
    ids = {f"{name.removesuffix('_token')}_token_id": fast.convert_tokens_to_ids(token) for name, token in kind.tokens.items()}
    ids.pop("unk_token_id", None)
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None} | ids
    if "eos_token" in changed:
        ids["eos_token_id"] = None
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind.architecture}Config")(**sizes, **ids, **kind.config)
    auto: Any = transformers.AutoModelForCausalLM
    model = auto.from_config(config)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
