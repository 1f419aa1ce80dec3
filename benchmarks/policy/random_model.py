"""A Llama of any size with random weights and the shipped tokenizer: for memory and speed, where it does not matter what it says."""

from pathlib import Path

import torch

from trainers.models.policy import load_tokenizer


def write_random_model(folder: Path, *, width: int, layers: int, dtype: torch.dtype = torch.float32) -> Path:
    """Write it; it has about ``12 * layers * width ** 2`` weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = load_tokenizer("shipped")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=width * 8 // 3 // 64 * 64, num_hidden_layers=layers,
        num_attention_heads=width // 64, num_key_value_heads=width // 64, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    model: LlamaForCausalLM = LlamaForCausalLM(config).to(dtype)  # type: ignore[no-untyped-call, arg-type]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
