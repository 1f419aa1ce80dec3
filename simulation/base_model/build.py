"""Builds the shipped base model from scratch: tokenizer, training, figures and hashes.

``python -m simulation.base_model.build --out FOLDER`` draws dialogues from ``simulation.world`` (names, employers, roles and questions of
the "sft" lists, and more with invented words, so that facts are copied and not memorised), trains a small Llama on the replies, measures
it on held-out records, and writes a folder that ``AutoModelForCausalLM.from_pretrained`` reads. One core, no download.
"""

import argparse
import json
import math
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from simulation.base_model.card import write_card
from simulation.base_model.copying import start_with_copying
from simulation.base_model.figures import draw_pairs, measure, write_hashes
from simulation.base_model.tokenizer import END, START, train_tokenizer
from simulation.corpus import blurred, draw_deflection, draw_recital, draw_reply, every_word, invented_words, subject_of, unheard
from simulation.off_topic import misspelt
from simulation.world import Conversation, Message, conversation_about, draw_conversation, facts_message

Example = tuple[list[int], list[float]]  # token ids; each token's weight in the loss


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    intermediate: int = 384
    steps: int = 2800
    batch: int = 16
    learning_rate: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.02
    recital_steps: int = 150  # initial steps that train on recitals only, to learn copying
    recitals: float = 0.15  # share of recitals after that
    off_topic: float = 0.15  # share of dialogues that end with a question which no facts answer
    blurred: float = 0.2  # share of the others in which some of the candidate's words are unknown
    misspelt: float = 0.2  # and in which some are misspelt
    unheard: float = 0.15  # and in which all are unknown or about something else: the topic in the facts decides what is answered
    fact_weight: float = 4.0  # loss weight of copied tokens: most errors at temperature 1 are there
    sharpness: float = 1.6  # factor on the final logits after training, so that temperature 1 samples less from the far tail
    invented: float = 0.6  # share of dialogues with invented names, roles and employers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; with --samples the model's folder")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--replies", type=int, default=2000, help="replies to measure on")
    parser.add_argument("--samples", type=Path, help="do not build; write pairs of replies of the model in --out to this JSONL file")
    parser.add_argument("--pairs", type=int, default=3000, help="how many pairs --samples writes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.samples:
        write_samples(arguments.out, arguments.samples, arguments.pairs, arguments.seed)
    else:
        build(Recipe(seed=arguments.seed, steps=arguments.steps), arguments.out, arguments.replies)


def build(recipe: Recipe, out: Path, replies: int) -> None:
    """Train, measure, and write the folder."""
    torch.use_deterministic_algorithms(True)
    started = time.perf_counter()
    tokenizer = train_tokenizer(texts(recipe, 4000))
    model = train(recipe, tokenizer)
    seconds = time.perf_counter() - started
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    figures = {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "vocabulary": len(tokenizer),
        "training_seconds": round(seconds, 1),
        **measure(model, tokenizer, replies, seed=recipe.seed),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    write_card(out, figures)
    write_hashes(out)
    print(json.dumps(figures, indent=2))


def write_samples(folder: Path, file: Path, count: int, seed: int) -> None:
    """Write pairs {prompt, a, b} of the model in ``folder`` on "sft" prompts, as JSONL."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    with file.open("w", encoding="utf-8") as lines:
        for pair in draw_pairs(model, tokenizer, count, seed=seed):
            lines.write(json.dumps(pair) + "\n")


def draw_example(rng: random.Random, recipe: Recipe, tokenizer: PreTrainedTokenizerFast, *, recital: bool) -> Example:
    """One encoded dialogue of the corpus, or one recital of all facts."""
    conversation = conversation_about(rng, "sft", *subject_of(rng, every_word())) if recital else draw_subject(rng, recipe.invented)
    record = conversation.records[0]
    if recital:
        messages = [
            facts_message(record, ("booking", "documents", "offer", "remote")),
            {"role": "user", "content": "Say all of it."},
            {"role": "assistant", "content": draw_recital(rng, record)},
        ]
    elif rng.random() < recipe.off_topic:
        return encode(tokenizer, draw_deflection(rng, conversation), (), recipe.fact_weight)
    else:
        messages = dialogue(rng, conversation)
        draw, day, known = rng.random(), record.asked_day or "?", recipe.blurred + recipe.misspelt
        for message in messages:
            if message["role"] != "user":
                continue
            if draw < recipe.blurred and day not in message["content"]:
                message["content"] = blurred(rng, message["content"])
            elif recipe.blurred <= draw < known:
                message["content"] = misspelt(rng, message["content"])
            elif known <= draw < known + recipe.unheard and day not in message["content"]:
                message["content"] = unheard(rng)
    stated = (
        record.candidate,
        record.role,
        record.employer,
        record.stage,
        *record.slots,
        *record.documents,
        record.by,
        record.starts,
        record.remote,
    )
    return encode(tokenizer, messages, stated, recipe.fact_weight)


def draw_subject(rng: random.Random, invented: float) -> Conversation:
    """A conversation of the "sft" lists or, in a share ``invented``, about names that exist nowhere."""
    if rng.random() >= invented:
        return draw_conversation(rng, "sft")
    return conversation_about(rng, "sft", *invented_words(rng))


def dialogue(rng: random.Random, conversation: Conversation) -> list[Message]:
    """The messages of the conversation, with a drawn reply to every turn."""
    replies = [draw_reply(rng, record) for record in conversation.records]
    return [*conversation.prompt(replies[:-1]), {"role": "assistant", "content": replies[-1]}]


def texts(recipe: Recipe, count: int) -> Iterator[str]:
    """Training texts for the tokenizer: messages, and lines of the words that are to become single tokens."""
    rng = random.Random(f"tokenizer {recipe.seed}")
    for _ in range(count):
        yield " " + " ".join(rng.choices(every_word(), k=24))
        conversation = draw_subject(rng, invented=1.0)
        messages = draw_deflection(rng, conversation) if rng.random() < recipe.off_topic else dialogue(rng, conversation)
        yield from (message["content"] for message in messages)


def train(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Train from random weights on the replies of freshly drawn dialogues."""
    torch.manual_seed(recipe.seed)
    model: LlamaForCausalLM = LlamaForCausalLM(  # type: ignore[no-untyped-call]
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
    start_with_copying(model)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_at(step, recipe))
    started, running = time.perf_counter(), 0.0
    for step, (ids, weights) in enumerate(batches(recipe, tokenizer)):
        hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]
        chosen = weights[:, 1:] > 0  # the loss covers replies only, so only their positions go through the output layer
        losses = cross_entropy(model.lm_head(hidden[chosen]), ids[:, 1:][chosen], reduction="none")
        weight = weights[:, 1:][chosen]
        loss = (losses * weight).sum() / weight.sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (weight > 1).any():
            fact_loss = losses[weight > 1].mean().item()
            running = fact_loss if step == 0 else 0.95 * running + 0.05 * fact_loss
        if step % 50 == 0 or step == recipe.steps - 1:
            print(f"step {step:5d}  loss {loss.item():.4f}  on facts {running:.4f}  {time.perf_counter() - started:6.1f} s", flush=True)
    with torch.no_grad():
        model.model.norm.weight.mul_(recipe.sharpness)
    model.train(False)
    return model


def learning_rate_at(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine decay to zero: sampling at temperature 1 needs sharp tails."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return 0.5 * (1 + math.cos(math.pi * (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)))


def batches(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """``steps`` batches of (ids, weights), each of dialogues of similar length; the first are recitals of facts."""
    rng = random.Random(f"corpus {recipe.seed}")
    ready: list[list[Example]] = []
    for step in range(recipe.steps):
        if step == recipe.recital_steps:
            ready = []
        if not ready:
            pool = [
                draw_example(rng, recipe, tokenizer, recital=step < recipe.recital_steps or rng.random() < recipe.recitals)
                for _ in range(recipe.batch * 32)
            ]
            pool.sort(key=lambda example: len(example[0]))
            ready = [pool[i : i + recipe.batch] for i in range(0, len(pool), recipe.batch)]
            rng.shuffle(ready)
        examples = ready.pop()
        width = max(len(ids) for ids, _ in examples)
        yield (
            torch.tensor([ids + [tokenizer.pad_token_id] * (width - len(ids)) for ids, _ in examples]),
            torch.tensor([weights + [0.0] * (width - len(weights)) for _, weights in examples]),
        )


def encode(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message], facts: Sequence[str], fact_weight: float) -> Example:
    """Token ids of a dialogue and each token's loss weight: 1 in the last reply, ``fact_weight`` on the facts it copies, 0 elsewhere."""
    ids: list[int] = []
    weights: list[float] = []
    copied = re.compile("|".join(rf"(?<=\s){re.escape(fact)}" for fact in facts) or r"(?!)")  # without facts it matches nothing
    for number, message in enumerate(messages):
        head = tokenizer.encode(("\n" if number else "") + f"{START}{message['role']}\n", add_special_tokens=False)
        body = tokenizer(f"{message['content']}{END}", add_special_tokens=False, return_offsets_mapping=True)
        ids += head + body["input_ids"]
        weights += [0.0] * len(head)
        in_reply = float(number == len(messages) - 1)  # the system message names the topic of the last question only
        spans = [match.span() for match in copied.finditer(message["content"])] if in_reply else []
        weights += [fact_weight if any(a < end and b > start for a, b in spans) else in_reply for start, end in body["offset_mapping"]]
    return ids, weights


if __name__ == "__main__":
    main()
