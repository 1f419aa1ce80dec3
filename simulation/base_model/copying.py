"""Initialises the small Llama with induction heads, so that a few minutes on one core suffice to train the rest.

A reply copies names from the facts block token by token, for which a transformer needs two heads in consecutive layers (Olsson et al. 2022,
"In-context Learning and Induction Heads"): one that attends to the previous token, and one that attends to an earlier position whose
previous token was the current one. They form late from random weights. Here they are set at initialisation, on random projections; all
weights are trained.
"""

import torch
from transformers import LlamaForCausalLM

SCALE = 0.08  # standard deviation of an embedding's coordinates
CONSTANT = 3.0  # coordinate 0 is the same for every token, in units of SCALE; the previous-token head's queries come from it
PREVIOUS_SHARPNESS = 60.0
MATCH_SHARPNESS = 14.0


@torch.no_grad()
def start_with_copying(model: LlamaForCausalLM) -> None:
    """Set the heads 0 and 1 of the first two layers; everything else keeps its random weights."""
    config = model.config
    hidden, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    memory = 2 * size // 2  # coordinates that store the previous token: as many as two matching heads can use
    content = slice(1, hidden - memory)
    width = hidden - memory - 1
    embeddings = model.model.embed_tokens.weight
    embeddings.normal_(0.0, SCALE)
    embeddings[:, 0] = CONSTANT * SCALE
    embeddings[:, hidden - memory :] = 0.0
    frequencies = model.model.rotary_emb.inv_freq
    spread = torch.linalg.qr(torch.randn(width, width))[0]  # rows: orthonormal directions of the token's content

    first = model.model.layers[0].self_attn
    fast = torch.arange(size // 4)  # the high-frequency half of the rotary pairs distinguishes neighbouring positions
    strength = (PREVIOUS_SHARPNESS * size**0.5 / len(fast)) ** 0.5 / CONSTANT
    for weight in (first.q_proj.weight, first.k_proj.weight):
        weight[: 2 * size] = 0.0
    for head in (0, 1):
        rows = head * size
        first.k_proj.weight[rows + fast, 0] = strength
        first.q_proj.weight[rows + fast, 0] = strength * torch.cos(frequencies[fast])
        first.q_proj.weight[rows + size // 2 + fast, 0] = -strength * torch.sin(frequencies[fast])
        first.v_proj.weight[rows : rows + size] = 0.0
        first.o_proj.weight[:, rows : rows + size] = 0.0
        for i in range(memory // 2):
            first.v_proj.weight[rows + i, content] = spread[head * (memory // 2) + i]
            first.o_proj.weight[hidden - memory + head * (memory // 2) + i, rows + i] = 2 * SCALE

    second = model.model.layers[1].self_attn
    slow = torch.cat(
        [torch.arange(size // 4, size // 2), torch.arange(size // 4, size // 2) + size // 2]
    )  # the low-frequency half: hardly depends on position
    strength = (MATCH_SHARPNESS * size**0.5 / len(slow)) ** 0.5
    for head in (0, 1):
        rows = head * size
        for weight in (second.q_proj.weight, second.k_proj.weight):
            weight[rows : rows + size] = 0.0
        second.v_proj.weight[rows : rows + size] = 0.0
        second.o_proj.weight[:, rows : rows + size] = 0.0
        for i in range(len(slow)):
            second.q_proj.weight[rows + slow[i], content] = strength * spread[head * (memory // 2) + i]
            second.k_proj.weight[rows + slow[i], hidden - memory + head * (memory // 2) + i] = strength
        second.v_proj.weight[rows : rows + size, content] = spread[head * size : (head + 1) * size]
        second.o_proj.weight[content, rows : rows + size] = 3 * SCALE * spread[head * size : (head + 1) * size].T
