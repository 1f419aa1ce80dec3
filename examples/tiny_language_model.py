"""A language model from nothing, in seconds on a CPU: a Llama of 100,000 weights that imitates pairs of a question and a reply.

The other examples train it further, so that they run anywhere. It knows only the words of its pairs; take a real model by ``--model``.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from storage.events import Message
from trainers.models.chat_format import ChatFormat

SPECIAL = ("<|pad|>", "<|unknown|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
WORD = Regex(r" ?\w+|\s+|[^\w\s]")  # a word with the space before it, white space, or a sign


def build(pairs: Sequence[tuple[str, str]], folder: Path, steps: int = 300, batch: int = 48, seed: int = 0) -> Path:
    """Train on the pairs, and save model and tokenizer as ``from_pretrained`` reads them."""
    tokenizer = _tokenizer([text for pair in pairs for text in pair])
    chat = ChatFormat(tokenizer, "tiny")
    rows = [(chat.prompt_ids([Message(role="user", content=question)]), chat.reply_ids(reply)) for question, reply in pairs]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, initializer_range=0.1, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=chat.end, pad_token_id=0,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps)
    rng = random.Random(seed)
    for _ in range(steps):
        chosen = rng.choices(rows, k=batch)
        length = max(len(prompt) + len(reply) for prompt, reply in chosen)
        padding = [length - len(prompt) - len(reply) for prompt, reply in chosen]
        ids = torch.tensor([[*prompt, *reply, *[0] * pad] for (prompt, reply), pad in zip(chosen, padding, strict=True)])
        labels = [[*[-100] * len(prompt), *reply, *[-100] * pad] for (prompt, reply), pad in zip(chosen, padding, strict=True)]
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=ids, labels=torch.tensor(labels)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: Sequence[str]) -> Any:
    split = pre_tokenizers.Split(WORD, behavior="isolated")
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *words])}, unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer, tokenizer.decoder = split, decoders.Fuse()
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], unk_token=SPECIAL[1], eos_token=SPECIAL[5], additional_special_tokens=SPECIAL[2:5]
    )
    fast.chat_template = TEMPLATE
    return fast
