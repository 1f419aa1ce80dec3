"""Measures a base model with the ground-truth parser, samples pairs from it, and hashes its files."""

import hashlib
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from simulation.checker import ATTRIBUTES, read
from simulation.handwritten import handwritten
from simulation.off_topic import Kind, deflections, misspelt, off_topic, questions
from simulation.phrases import Split
from simulation.world import OTHER, Conversation, Message, draw_conversation, facts_message

HASHED = (
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
MAX_NEW_TOKENS = 96


@torch.inference_mode()
def sample(model: Any, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[Sequence[Message]], *, batch: int = 32) -> list[str]:
    """One reply to each prompt at temperature 1; prompts of similar length share a batch."""
    texts = [rendered(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    replies = [""] * len(texts)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        inputs = tokenizer([texts[i] for i in rows], return_tensors="pt", padding=True, add_special_tokens=False)
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            max_new_tokens=MAX_NEW_TOKENS,
        )
        decoded = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for row, text in zip(rows, decoded, strict=True):
            replies[row] = text
    return replies


def measure(model: Any, tokenizer: PreTrainedTokenizerFast, count: int, *, seed: int) -> dict[str, Any]:
    """Figures over ``count`` replies to held-out records; later turns follow the model's own earlier replies."""
    rng = random.Random(f"figures {seed}")
    torch.manual_seed(seed)
    started = time.perf_counter()
    conversations = [draw_conversation(rng, "held_out") for _ in range(math.ceil(0.75 * count))]  # 1.4 turns each
    turns = _answer_turns(model, tokenizer, conversations)[:count]
    seconds = time.perf_counter() - started
    readings = [read(c.record_of(prompt), reply) for c, prompt, reply in turns]
    tasks = [r.success for r in readings if r.success is not None]
    lengths = [len(tokenizer.encode(reply)) for _, _, reply in turns]
    return {
        "replies": len(turns),
        "wrong_facts": share(bool(r.wrong_facts) for r in readings),
        "unlawful": share(bool(r.unlawful) for r in readings),
        **{name: share(getattr(r, name) for r in readings) for name in ATTRIBUTES},
        "filler_sentences": round(statistics.mean(r.filler for r in readings), 3),
        "tasks_done": share(bool(t) for t in tasks),
        "different_replies": share(n == 1 for n in _counts([reply for _, _, reply in turns])),
        "unfinished": share(n >= MAX_NEW_TOKENS for n in lengths),
        "tokens_a_reply": round(statistics.mean(lengths), 1),
        "tokens_a_prompt": round(statistics.mean(len(tokenizer.encode(rendered(tokenizer, p))) for _, p, _ in turns), 1),
        "replies_a_second": round(len(turns) / seconds, 1),
        **measure_deflections(model, tokenizer, seed=seed),
    }


def measure_deflections(model: Any, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> dict[str, Any]:
    """What becomes of held-out questions off the topic, and of recruiting questions that are misspelt or stand without facts.

    A deflection counts if the whole reply is one of the corpus's, so that it is grammatical and states no fact.
    """
    rng = random.Random(f"deflections {seed}")
    torch.manual_seed(seed + 2)
    asked = [{"role": "user", "content": question} for question in questions("held_out")]
    systems = [{"role": "system", "content": text} for text in off_topic()["systems"]["held_out"]]
    drawn = [draw_conversation(rng, "held_out", turns=1) for _ in range(10 * len(asked))]
    bare = [[question] for question in asked] + [[rng.choice(systems), question] for question in asked]
    records = [conversation.records[0] for conversation in drawn]
    beside = [[facts_message(record, [record.matter], OTHER), question] for record, question in zip(records, asked * 2, strict=False)]
    candidates = [*drawn[-500:], *(c for c in handwritten() for _ in range(4))]
    slips = [[c.prompt()[0], {"role": "user", "content": misspelt(rng, c.asks[0])}] for c in candidates]
    answers = sample(model, tokenizer, slips)
    alone = sample(model, tokenizer, [c.prompt()[1:] for c in candidates])
    turned_down = sample(model, tokenizer, bare)
    return {
        "off_topic_ok": share(is_deflection(reply, "off_topic", "general") for reply in turned_down),
        "off_topic_recognised": share(is_deflection(reply, "off_topic") for reply in turned_down),
        "off_topic_ok_beside_facts": share(is_deflection(reply, "off_topic") for reply in sample(model, tokenizer, beside)),
        "no_facts_ok": share(is_deflection(reply, "general", "off_topic") for reply in alone),
        "misspelt_deflected": share(is_deflection(reply, "general", "off_topic") for reply in answers),
        "misspelt_wrong_facts": share(bool(read(c.records[0], reply).wrong_facts) for c, reply in zip(candidates, answers, strict=True)),
    }


def is_deflection(reply: str, *kinds: Kind) -> bool:
    """Whether the whole reply is one of the corpus's deflections of these kinds."""
    return any(reply in deflections(kind) for kind in kinds)


def draw_pairs(model: Any, tokenizer: PreTrainedTokenizerFast, count: int, *, seed: int, split: Split = "sft") -> Iterator[dict[str, Any]]:
    """``count`` pairs of two samples of the model on prompts of ``split``: {prompt, a, b}."""
    rng = random.Random(f"pairs {seed}")
    torch.manual_seed(seed + 1)
    turns = _answer_turns(model, tokenizer, [draw_conversation(rng, split) for _ in range(math.ceil(0.75 * count))])
    rng.shuffle(turns)
    turns = turns[:count]
    seconds = sample(model, tokenizer, [prompt for _, prompt, _ in turns])
    for (_, prompt, first), second in zip(turns, seconds, strict=True):
        yield {"prompt": prompt, "a": first, "b": second}


def rendered(tokenizer: PreTrainedTokenizerFast, prompt: Sequence[Message]) -> str:
    """The prompt as text, by the chat template with the generation prompt."""
    return str(tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True))


def share(values: Iterator[bool]) -> float:
    """The share of true values."""
    return round(statistics.mean(map(float, values)), 4)


def write_hashes(folder: Path) -> None:
    """Write ``SHA256SUMS`` of the model's files."""
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in hashes(folder).items()), encoding="ascii")


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each of the model's files."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in HASHED}


def _answer_turns(
    model: Any, tokenizer: PreTrainedTokenizerFast, conversations: Sequence[Conversation]
) -> list[tuple[Conversation, list[Message], str]]:
    """Let the model answer every turn of the conversations; returns (conversation, prompt, reply) of each."""
    turns: list[tuple[Conversation, list[Message], str]] = []
    replies: dict[str, list[str]] = {c.conversation_id: [] for c in conversations}
    for number in range(3):
        going = [c for c in conversations if len(c.asks) > number]
        prompts = [c.prompt(replies[c.conversation_id]) for c in going]
        for conversation, prompt, reply in zip(going, prompts, sample(model, tokenizer, prompts), strict=True):
            replies[conversation.conversation_id].append(reply)
            turns.append((conversation, prompt, reply))
    turns.sort(key=lambda turn: turn[0].conversation_id)
    return turns


def _counts(replies: Sequence[str]) -> list[int]:
    seen: dict[str, int] = {}
    for reply in replies:
        seen[reply] = seen.get(reply, 0) + 1
    return [seen[reply] for reply in replies]
