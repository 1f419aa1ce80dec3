"""Log-probabilities and logits of given replies under a policy."""

import inspect
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from storage.events import Message
from trainers.models.policy import Policy


def log_probabilities(policy: Policy, prompts: Sequence[Sequence[Message]], replies: Sequence[str], *, batch: int = 32) -> list[np.ndarray]:
    """log p(token | prefix) of each reply's tokens and its end token under ``policy``; one array ``(tokens,)`` a reply."""
    texts = [policy.chat.reply_ids(reply) for reply in replies]
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    for chunk, logits in reply_logits(policy, prompts, texts, batch=batch):
        for i, row in zip(chunk, logits, strict=True):
            tokens = torch.tensor(texts[i], device=row.device)
            found[i] = row.log_softmax(-1).gather(-1, tokens[:, None]).flatten().cpu().numpy()
    return found


def reply_logits(
    policy: Policy, prompts: Sequence[Sequence[Message]], replies: Sequence[Sequence[int]], *, batch: int = 32
) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """Yield, for each batch, its row indices and each row's float32 logits that predict the reply's tokens, ``(tokens, vocabulary)``."""
    rows = [[*policy.chat.fitted_ids(prompt, policy.window - len(reply)), *reply] for prompt, reply in zip(prompts, replies, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    accepted = forward_parameters(policy)
    for start in range(0, len(order), batch):
        chunk = order[start : start + batch]
        inputs, mask = _left_padded([rows[i] for i in chunk], policy)
        longest = max(len(replies[i]) for i in chunk) + 1
        arguments = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": longest}
        with torch.no_grad():  # not around the yield, where it would apply to the caller too
            logits = policy.model(
                input_ids=inputs, attention_mask=mask, **{name: value for name, value in arguments.items() if name in accepted}
            ).logits.float()
        yield chunk, [logits[line, -len(replies[i]) - 1 : -1] for line, i in enumerate(chunk)]


def _left_padded(rows: Sequence[Sequence[int]], policy: Policy) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, rows))
    inputs = torch.tensor([[policy.tokenizer.pad_token_id] * (length - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    device = next(policy.model.parameters()).device
    return inputs.to(device), mask.to(device)


def forward_parameters(policy: Policy) -> set[str]:
    """Parameter names of the model's forward: not every architecture takes ``position_ids`` or ``logits_to_keep``."""
    model = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
    return set(inspect.signature(type(model).forward).parameters)
