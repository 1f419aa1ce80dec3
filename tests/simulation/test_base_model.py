"""The shipped base model is the one that was measured, loads like any other, and copies facts."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from simulation.base_model.figures import HASHED, hashes, is_deflection, sample
from simulation.checker import read
from simulation.off_topic import questions
from simulation.world import draw_conversation

pytestmark = pytest.mark.training

FOLDER = Path(__file__).parents[2] / "trainers" / "models" / "shipped"

Loaded = tuple[Any, Any]  # the model and its tokenizer


def test_the_files_match_their_sha256sums() -> None:
    lines = (FOLDER / "SHA256SUMS").read_text("ascii").splitlines()
    written = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert written == hashes(FOLDER)
    assert set(written) == set(HASHED)


def test_the_measured_figures_are_within_limits_and_the_weights_are_small() -> None:
    figures = json.loads((FOLDER / "figures.json").read_text("utf-8"))
    assert figures["replies"] >= 2000
    assert figures["wrong_facts"] <= 0.02
    assert figures["unlawful"] <= 0.015
    assert all(0.42 <= figures[name] <= 0.58 for name in ("concrete", "dated", "warm", "question"))
    assert figures["different_replies"] >= 0.95
    assert (FOLDER / "model.safetensors").stat().st_size <= 5_000_000


def test_off_topic_questions_are_turned_down_and_misspelt_recruiting_questions_are_not() -> None:
    figures = json.loads((FOLDER / "figures.json").read_text("utf-8"))
    assert figures["off_topic_ok"] >= 0.95
    assert figures["no_facts_ok"] >= 0.95
    assert figures["off_topic_ok_beside_facts"] >= 0.95
    assert figures["misspelt_deflected"] <= 0.03
    assert figures["misspelt_wrong_facts"] <= 0.04


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(FOLDER)
    return model.eval(), AutoTokenizer.from_pretrained(FOLDER)


def test_it_loads_by_the_auto_classes_and_ends_its_replies(loaded: Loaded) -> None:
    import torch

    model, tokenizer = loaded
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.eos_token == "<|im_end|>"
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    torch.set_num_threads(1)  # two threads of one process collapse when the other core is busy
    torch.manual_seed(0)
    rng = random.Random(0)
    conversations = [draw_conversation(rng, "held_out") for _ in range(96)]
    replies = sample(model, tokenizer, [c.prompt() for c in conversations])
    readings = [read(c.records[0], reply) for c, reply in zip(conversations, replies, strict=True)]
    assert sum(bool(r.wrong_facts) for r in readings) <= 6  # at a rate of 2% of 96, P(more than 6) < 0.005
    assert sum(reply.endswith((".", "?", "!")) for reply in replies) >= 94
    assert len(set(replies)) >= 90


def test_a_visitors_question_without_facts_gets_a_grammatical_answer(loaded: Loaded) -> None:
    import torch

    model, tokenizer = loaded
    torch.manual_seed(1)
    replies = sample(model, tokenizer, [[{"role": "user", "content": question}] for question in questions("held_out")])
    assert sum(is_deflection(reply, "off_topic", "general") for reply in replies) >= 0.95 * len(replies)
    assert sum(is_deflection(reply, "off_topic") for reply in replies) >= 0.75 * len(replies)  # the others as if about an application
    own = sample(model, tokenizer, [[{"role": "user", "content": "When is my interview?"}]] * 20)
    assert sum(is_deflection(reply, "general", "off_topic") for reply in own) >= 18


def test_the_chat_template_puts_line_breaks_between_messages_only(loaded: Loaded) -> None:
    _, tokenizer = loaded
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>"
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert whole.startswith(prompt)
    assert prompt.endswith("<|im_start|>assistant\n")


def test_any_text_survives_the_tokenizer(loaded: Loaded) -> None:
    _, tokenizer = loaded
    for text in ("Zoë Müller, 09:45 – naïve?", "日本語 🙂", "  two  spaces\n\nand lines\t"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
