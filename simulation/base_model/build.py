"""Make the shipped base model from nothing: tokenizer, training, figures and hashes.

``python -m simulation.base_model.build --out FOLDER`` draws dialogues from ``simulation.world`` (names, employers, roles and questions of the
"sft" lists, and as many with invented words, so that facts are copied and not remembered), trains a small Llama on the replies, measures it on
records that it has not seen, and writes a folder that ``AutoModelForCausalLM.from_pretrained`` reads. One core, no download.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simulation.base_model.figures import draw_pairs, measure, write_hashes
from simulation.base_model.tokenizer import END, START, train_tokenizer
from simulation.corpus import draw_reply, invented_words
from simulation.world import Conversation, Message, conversation_about, draw_conversation


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    intermediate: int = 320
    steps: int = 3000
    batch: int = 16
    learning_rate: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.05
    invented: float = 0.6  # share of dialogues with invented names, roles and employers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--replies", type=int, default=2000, help="replies to measure on")
    arguments = parser.parse_args()
    recipe = Recipe(seed=arguments.seed, steps=arguments.steps)
    torch.set_num_threads(1)
    started = time.perf_counter()
    tokenizer = train_tokenizer(texts(recipe, 6000))
    model = train(recipe, tokenizer)
    seconds = time.perf_counter() - started
    arguments.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    figures = {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_seconds": round(seconds, 1),
        **measure(model, tokenizer, arguments.replies, seed=recipe.seed),
    }
    (arguments.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_hashes(arguments.out)
    print(json.dumps(figures, indent=2))


def draw_dialogue(rng: random.Random, invented: float) -> list[Message]:
    """The messages of one whole dialogue of the corpus, every turn answered."""
    if rng.random() < invented:
        name, role, employer = invented_words(rng)
        conversation: Conversation = conversation_about(rng, "sft", name, rng.choice(("north", "south")), role, employer)
    else:
        conversation = draw_conversation(rng, "sft")
    replies = [draw_reply(rng, record) for record in conversation.records]
    return [*conversation.prompt(replies[:-1]), {"role": "assistant", "content": replies[-1]}]


def texts(recipe: Recipe, count: int) -> Iterator[str]:
    """Texts for the tokenizer, one message each; only invented names, so that its merges know no name of the lists."""
    rng = random.Random(f"tokenizer {recipe.seed}")
    for _ in range(count):
        yield from (message["content"] for message in draw_dialogue(rng, invented=1.0))


def train(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Train from random weights on the replies of freshly drawn dialogues."""
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.intermediate,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attention_dropout=0.0,
        )
    )
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_at(step, recipe))
    started, running = time.perf_counter(), 0.0
    for step, (ids, labels) in enumerate(batches(recipe, tokenizer)):
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        chosen = targets != -100  # only replies are learnt, so only their positions go through the output layer
        loss = cross_entropy(model.lm_head(hidden[chosen]), targets[chosen])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running = loss.item() if step == 0 else 0.95 * running + 0.05 * loss.item()
        if step % 100 == 0 or step == recipe.steps - 1:
            print(f"step {step:5d}  loss {running:.4f}  {time.perf_counter() - started:6.1f} s", flush=True)
    return model.eval()


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """A linear warm-up, then half a cosine down to nothing: sampling at temperature 1 needs sharp tails."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)))


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """``steps`` batches of (ids, labels), each of dialogues of like length; labels are -100 outside replies."""
    rng = random.Random(f"corpus {recipe.seed}")
    ready: list[list[tuple[list[int], list[int]]]] = []
    for _ in range(recipe.steps):
        if not ready:
            pool = [encode(tokenizer, draw_dialogue(rng, recipe.invented)) for _ in range(recipe.batch * 32)]
            pool.sort(key=lambda example: len(example[0]))
            ready = [pool[i : i + recipe.batch] for i in range(0, len(pool), recipe.batch)]
            rng.shuffle(ready)
        examples = ready.pop()
        width = max(len(ids) for ids, _ in examples)
        pad = tokenizer.pad_token_id
        yield (
            torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in examples]),
            torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in examples]),
        )


def encode(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    """Token ids of a dialogue, and the same with everything but the replies and their ends masked."""
    ids: list[int] = []
    labels: list[int] = []
    for number, message in enumerate(messages):
        head = tokenizer.encode(("\n" if number else "") + f"{START}{message['role']}\n", add_special_tokens=False)
        body = tokenizer.encode(f"{message['content']}{END}", add_special_tokens=False)
        ids += head + body
        labels += [-100] * len(head) + (body if message["role"] == "assistant" else [-100] * len(body))
    return ids, labels


if __name__ == "__main__":
    main()
