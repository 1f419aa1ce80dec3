"""The reward that both PPOs train against: the shipped model as a sequence classifier with one output, fitted to a world's true taste.

Its scores have mean 0 and deviation 1 over the base model's replies.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from benchmarks.policy.dialogues import SAMPLING, dialogues
from simulation.world import World
from trainers.features.embedding import Item
from trainers.models.engine import generate
from trainers.models.policy import Policy, load_policy
from trainers.models.references import resolve_model

FOLDER = "classifier"


class Classifier:
    """Scores of (prompt, reply) pairs, read at the reply's end token."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
        self._policy = policy

    @torch.no_grad()
    def __call__(self, items: Sequence[Item]) -> np.ndarray:
        """The scores, ``(n,)``."""
        rows = [_ids(self._policy, *item) for item in items]
        found = np.zeros(len(rows), np.float32)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), 64):
            chunk = order[start : start + 64]
            found[chunk] = self.model(**_padded([rows[i] for i in chunk])).logits[:, 0].numpy()
        return found


def fit_classifier(seed: int, count: int, folder: Path) -> Path:
    """Fit it to the true utility of ``count`` replies of the shipped model in the world ``seed``, by least squares; return its folder."""
    torch.manual_seed(seed)
    policy, world = load_policy("shipped"), World(seed)
    known = dialogues(seed, count)
    replies = generate(policy, list(known), SAMPLING, seed=seed)
    items = list(zip(known, replies, strict=True))
    utilities = torch.tensor([world.true_utility(known[prompt], reply) for prompt, reply in items], dtype=torch.float32)
    targets = (utilities - utilities.mean()) / utilities.std()
    model = AutoModelForSequenceClassification.from_pretrained(resolve_model("shipped"), num_labels=1, dtype=torch.float32)
    rows = [_ids(policy, *item) for item in items]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for epoch in range(3):
        order = np.random.default_rng((seed, epoch)).permutation(len(rows))
        for start in range(0, len(rows), 32):
            chosen = order[start : start + 32].tolist()
            loss = ((model(**_padded([rows[i] for i in chosen])).logits[:, 0] - targets[chosen]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    scores = Classifier(folder, policy)(items)
    with torch.no_grad():  # the head has no bias, so only the deviation can be set
        model.score.weight /= float(scores.std())
    model.save_pretrained(folder)
    return folder


def _ids(policy: Policy, prompt: Sequence[object], reply: str) -> list[int]:
    ids = policy.chat.reply_ids(reply)
    return [*policy.chat.fitted_ids(prompt, policy.window - len(ids)), *ids]  # type: ignore[arg-type]


def _padded(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    length = max(map(len, rows))
    return {
        "input_ids": torch.tensor([[*row, *[0] * (length - len(row))] for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
    }
