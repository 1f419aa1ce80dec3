"""Does PPO find the optimum that is known in closed form? A bandit of three replies, with the whole training on a tiny language model.

With the KL penalty beta, the best policy is pi*(a) = pi_ref(a) exp(r(a) / beta) / Z (Ziegler et al. 2019, equation 2). For
pi_ref = (.2, .3, .5), r = (1, 0, -1) and beta = .5 it is (.8008, .1626, .0367).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.figures import Figure
from storage.events import Message
from trainers.features.embedding import Item
from trainers.models.policy import load_policy
from trainers.models.scoring import log_probabilities
from trainers.policy.ppo import train_ppo
from trainers.policy.ppo_settings import PPOSettings

REPLIES, REFERENCE, REWARDS, BETA = ("a", "b", "c"), (0.2, 0.3, 0.5), (1.0, 0.0, -1.0), 0.5
PROMPT = (Message(role="user", content="go"),)
SETTINGS = PPOSettings(
    steps=60, batch=512, minibatch=256, micro_batch=256, epochs=2, learning_rate=3e-3, critic_learning_rate=1e-2, kl_coefficient=BETA,
    gamma=1.0, gae_lambda=1.0, scale_rewards=False, max_tokens=3, least_prompts=1, critic_warmup=1, checkpoints=1,
    governor_every=0,
)  # fmt: skip


def figures(quick: bool) -> Sequence[Figure]:
    """Total variation between the trained policy and the closed form, the mean and range of some seeds."""
    with tempfile.TemporaryDirectory() as scratch:
        base = build(Path(scratch) / "base")
        found = [distance(train(base, Path(scratch) / str(seed), seed)) for seed in range(1 if quick else 5)]
    return [Figure("bandit_distance", max(found), min(found), max(found), f"total variation, the worst of {len(found)} seeds", "<=0.01")]


def optimum() -> np.ndarray:
    """The closed form, ``(3,)``."""
    weights = np.array(REFERENCE) * np.exp(np.array(REWARDS) / BETA)
    return np.asarray(weights / weights.sum())


def distance(probabilities: np.ndarray) -> float:
    """Total variation to the closed form."""
    return float(np.abs(probabilities - optimum()).sum() / 2)


def train(base: Path, folder: Path, seed: int, settings: PPOSettings = SETTINGS) -> np.ndarray:
    """The probabilities of the three replies after training, ``(3,)``."""

    def reward(items: Sequence[Item]) -> list[float]:
        value = dict(zip(REPLIES, REWARDS, strict=True))
        return [value.get(reply, -1.0) for _, reply in items]

    trained = train_ppo(str(base), [PROMPT], reward, settings.model_copy(update={"seed": seed}), folder, lambda step, steps, metrics: None)
    return probabilities(base, trained.adapter)


def probabilities(base: Path, adapter: Path | None = None) -> np.ndarray:
    """The probabilities of the three replies, ``(3,)``; others have the rest."""
    found = log_probabilities(load_policy(str(base), adapter), [PROMPT] * len(REPLIES), REPLIES)
    return np.exp([each.sum() for each in found])


def build(folder: Path) -> Path:
    """A Llama of some thousand weights that replies "a", "b" or "c" with the probabilities ``REFERENCE``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = ["<|pad|>", "<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>"
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=64, tie_word_embeddings=False, bos_token_id=None, eos_token_id=1, pad_token_id=0, initializer_range=0.3,
    )  # fmt: skip
    model: LlamaForCausalLM = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    policy = load_policy(str(folder))
    prompt = policy.chat.prompt_ids(PROMPT)
    replies = [policy.chat.reply_ids(reply) for reply in REPLIES]
    ids = torch.tensor([[*prompt, *reply] for reply in replies])
    first = torch.zeros(len(fast))
    first[[reply[0] for reply in replies]] = torch.tensor(REFERENCE)
    optimizer = torch.optim.Adam(policy.model.parameters(), lr=1e-2)
    for _ in range(400):
        logits = policy.model(ids).logits[:, len(prompt) - 1 :].log_softmax(-1)
        loss = -(logits[0, 0] * first).sum() - logits[:, 1, policy.chat.end].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    policy.model.save_pretrained(folder)
    return folder
