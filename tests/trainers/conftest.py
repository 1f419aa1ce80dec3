"""A language model small enough to train inside a test, a snapshot to train it on, and settings for a short run."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from storage.events import (
    Event,
    JudgmentGiven,
    Message,
    PairDrawn,
    PairEmbedded,
    ReplySent,
    Response,
    ResponseRated,
    Sampling,
    derived_id,
    pack,
)  # fmt: skip
from storage.settings import Settings
from storage.snapshots.snapshot import freeze
from storage.strata import stratum_of
from storage.warehouse.entries import Partition
from storage.warehouse.warehouse import Warehouse
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = str(derived_id("a run"))

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% if not loop.last or add_generation_prompt %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a Llama of 40,000 random parameters, with a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"]
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.15,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-model")
    model: LlamaForCausalLM = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def said(text: str, facts: str | None = None) -> tuple[Message, ...]:
    """A prompt: a question, behind a system message where facts are given."""
    question = Message(role="user", content=text)
    return (Message(role="system", content=facts), question) if facts else (question,)


def topic_of(event: Event) -> str:
    return {
        "ReplySent": "chat.replies",
        "ResponseRated": "feedback.ratings",
        "PairDrawn": "feedback.pairs",
        "JudgmentGiven": "feedback.judgments",
    }.get(event.kind, "feedback.features")


def events(embedder: Embedder, pairs: int) -> Iterator[Event]:
    rng, draw = random.Random(0), np.random.default_rng(0)
    for i in range(pairs):
        conversation, moment = f"c-{i}", START + timedelta(minutes=i)
        name = rng.choice(["Katelyn", "Jay"])
        prompt = (
            Message(role="system", content=f"Candidate: {name}\nNext news: Friday"),
            Message(role="user", content=f"Any news? I wrote {i} times."),
        )
        texts = [f"Hello {name}, by Friday.", f"Hello {name}, see the portal number {i}."]
        rng.shuffle(texts)
        stratum = stratum_of(conversation)
        yield ReplySent(
            event_id=derived_id("reply", i), occurred_at=moment, source="simulation", conversation_id=conversation, prompt=prompt,
            reply=texts[0], version="base", sampling=Sampling(), stratum=stratum,
        )  # fmt: skip
        yield ResponseRated(
            event_id=derived_id("rated", i), occurred_at=moment, source="simulation", conversation_id=conversation,
            reply_id=derived_id("reply", i), recruiter=f"r-{i % 5}", thumb="up" if "Friday" in texts[0] else "down",
        )  # fmt: skip
        pair_id = derived_id("pair", i)
        yield PairDrawn(
            event_id=derived_id("drawn", i), occurred_at=moment, source="simulation", pair_id=pair_id, conversation_id=conversation,
            prompt=prompt, a=Response(text=texts[0], version="base"), b=Response(text=texts[1], version="base"), drawn="sampled",
            probability=1.0, stratum=stratum,
        )  # fmt: skip
        yield PairEmbedded(
            event_id=derived_id("embedded", i), occurred_at=moment, source="simulation", pair_id=pair_id, embedding=embedder.name,
            embedding_hash=embedder.hash, a=pack(draw.normal(size=embedder.dimension) / 28),
            b=pack(draw.normal(size=embedder.dimension) / 28),
        )  # fmt: skip
        choice = "tie" if i % 7 == 0 else "A" if "Friday" in texts[0] else "B"
        yield JudgmentGiven(
            event_id=derived_id("judged", i), occurred_at=moment, source="simulation", pair_id=pair_id, recruiter=f"r-{i % 5}",
            choice=choice, strength=None if choice == "tie" else 2, shown_first=rng.choice(["A", "B"]),
        )  # fmt: skip


@pytest.fixture(scope="session")
def snapshot(tiny_encoder: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    offsets: dict[str, int] = {}
    entries = []
    for event in events(Embedder.load(FeatureSettings(**tiny_encoder)), 80):
        topic = topic_of(event)
        offsets[topic] = offsets.get(topic, -1) + 1
        entries.append((Partition(topic, 0), offsets[topic], event))
    with Warehouse.open(folder / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        warehouse.apply(entries)
        freeze(warehouse, folder / "snapshot", run_id=RUN, through_sequence=warehouse.last_sequence, sources=("simulation",))
    return folder / "snapshot"


@pytest.fixture(scope="session")
def run_settings(tiny_model: Path, tiny_encoder: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings.read(tmp_path_factory.mktemp("home"), {}).with_values(
        common={"model": str(tiny_model)},
        features=tiny_encoder,
        dpo={"least_rows": 8, "batch": 16, "epochs": 1},
        evaluation={"max_tokens": 12, "names": 2, "kl_prompts": 8, "audit_pairs": 4, "audit_pairs_max": 4},
    )
