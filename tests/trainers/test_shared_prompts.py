"""Prompts that are computed once for both replies give the states and gradients of separate rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.models.policy import load_policy
from trainers.policy.shared_prompts import Packed, SharedPrompts

pytestmark = pytest.mark.training


def batch(pairs: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    rows = [*(one for one, _ in pairs), *(other for _, other in pairs)]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return ids, torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])


PAIRS = [
    ([5, 6, 7, 8, 9, 10, 20, 21], [5, 6, 7, 8, 9, 10, 30, 31, 32]),
    ([11, 12, 13, 40], [11, 12, 13, 50, 51, 52, 53]),
    ([60, 61, 62, 63, 64, 65], [60, 61, 62, 63, 64]),  # one begins with all of the other
]


def test_a_pair_becomes_one_row_whose_replies_do_not_see_each_other() -> None:
    packed = Packed(*batch([([1, 2, 3, 4], [1, 2, 5, 6])]))
    assert packed.ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 2, 3]]
    assert packed.mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]
    assert packed.rows(packed.ids[..., None])[..., 0].tolist() == [[1, 2, 3, 4], [1, 2, 5, 6]]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_shared_prompts_change_neither_states_nor_gradients(tiny_model: Path, attention: str) -> None:
    ids, mask = batch(PAIRS)
    found = []
    for shared in (False, True):
        model = load_policy(str(tiny_model)).model
        model.set_attn_implementation(attention)
        sharing = SharedPrompts(model) if shared else None
        widths: list[int] = []
        model.base_model.layers[0].register_forward_pre_hook(lambda _, inputs, seen=widths: seen.append(inputs[0].shape[0]))
        logits = model(input_ids=ids, attention_mask=mask).logits * mask[..., None]
        logits.square().sum().backward()
        found.append((logits.detach(), model.get_input_embeddings().weight.grad))
        assert widths[-1] == (3 if shared else 6)
        assert sharing is None or sharing.usable
    assert torch.allclose(found[0][0], found[1][0], atol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-3)


def test_a_model_whose_states_would_change_computes_each_row(tiny_model: Path) -> None:
    """As one with positions of its own would."""
    ids, mask = batch(PAIRS)
    model = load_policy(str(tiny_model)).model
    expected = model(input_ids=ids, attention_mask=mask).logits
    trunk: Any = model.base_model
    forward = trunk.forward
    trunk.forward = lambda position_ids=None, **given: forward(**given)
    sharing = SharedPrompts(model)
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected)
    assert not sharing.usable


def test_rows_with_nothing_in_common_pass_as_they_are(tiny_model: Path) -> None:
    ids, mask = batch([([5, 6, 7], [8, 9, 10]), ([11, 12, 13], [14, 15, 16])])
    model = load_policy(str(tiny_model)).model
    expected = model(input_ids=ids, attention_mask=mask).logits
    SharedPrompts(model)
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected)


def test_rows_longer_than_the_attention_window_pass_as_they_are() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    ids, mask = batch(PAIRS)
    for window, shared in ((4, False), (64, True)):
        torch.manual_seed(0)
        config = MistralConfig(
            vocab_size=100, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            sliding_window=window,
        )  # fmt: skip
        model: Any = MistralForCausalLM(config)  # type: ignore[no-untyped-call]
        expected = model(input_ids=ids, attention_mask=mask).logits
        sharing = SharedPrompts(model)
        assert torch.allclose(model(input_ids=ids, attention_mask=mask).logits * mask[..., None], expected * mask[..., None], atol=1e-5)
        assert bool(sharing.usable) is shared
