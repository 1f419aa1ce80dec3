"""Replies and scores under a language model, on one small enough for a test."""

from pathlib import Path

import numpy as np
import pytest
import torch

from storage.errors import ModelNotFound
from storage.events import Message, Sampling
from trainers.models.engine import Batch, generate
from trainers.models.policy import Policy, load_policy
from trainers.models.references import resolve_model
from trainers.models.sampler import Draw, choose
from trainers.models.scoring import log_probabilities

pytestmark = pytest.mark.training

PROMPTS = [(Message(role="user", content=text),) for text in ("Hello", "When is my interview?", "Hi, any news? " * 5, "No")]


@pytest.fixture(scope="module")
def policy(tiny_model: Path) -> Policy:
    return load_policy(str(tiny_model))


def test_replies_do_not_depend_on_the_batch_size(policy: Policy) -> None:
    sampling = Sampling(max_tokens=24)
    together = generate(policy, PROMPTS, sampling, seed=3)
    assert together == generate(policy, PROMPTS, sampling, seed=3, batch=1)
    assert together != generate(policy, PROMPTS, sampling, seed=4)
    assert all(isinstance(reply, str) for reply in together)


def test_replies_of_one_number_have_common_random_numbers(policy: Policy) -> None:
    (one, other), sampling = PROMPTS[:2], Sampling(max_tokens=24)
    drawn = generate(policy, [one, other, one, one], sampling, 7, numbers=[3, 8, 3, 4])
    assert drawn[0] == drawn[2] != drawn[3]
    assert generate(policy, [other, one], sampling, 7, numbers=[8, 4]) == [drawn[1], drawn[3]], "whatever else is drawn"


def test_the_likeliest_tokens_are_those_of_transformers_own_generation(policy: Policy) -> None:
    draws = [Draw(policy.chat.prompt_ids(prompt), Sampling(temperature=0), 20, lambda item: None, pieces=False) for prompt in PROMPTS]
    batch = Batch(policy, len(draws))
    batch.admit(draws)
    while batch.draws:
        batch.step()
    for draw in draws:
        ids = torch.tensor([draw.ids])
        theirs = policy.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
        assert draw.tokens == [token for token in theirs[0, len(draw.ids) :].tolist() if token not in policy.ends]


def test_a_reply_ends_before_the_token_that_ends_it(policy: Policy) -> None:
    replies = generate(policy, PROMPTS * 20, Sampling(temperature=2, max_tokens=60), seed=1)
    assert not any("<|im_end|>" in reply for reply in replies)
    assert len({len(policy.tokenizer(reply)["input_ids"]) for reply in replies}) > 3
    assert policy.ends == (2,)


def test_a_stop_text_and_what_follows_it_are_left_out(policy: Policy) -> None:
    plain = generate(policy, PROMPTS, Sampling(max_tokens=30), seed=0)[1]
    stop = plain[len(plain) // 2]
    assert generate(policy, PROMPTS, Sampling(max_tokens=30, stop=(stop,)), seed=0)[1] == plain.split(stop)[0].strip()


class Fixed(Draw):
    """A draw with a fixed random number that is not blank."""

    def __init__(self, sampling: Sampling, uniform: float) -> None:
        super().__init__([1], sampling, 10, lambda item: None, pieces=False)
        self._uniform = uniform

    @property
    def blank(self) -> bool:
        return False

    def uniform(self) -> float:
        return self._uniform


def chosen(logits: torch.Tensor, sampling: Sampling, *uniform: float) -> list[int]:
    return choose(logits.expand(len(uniform), -1), [Fixed(sampling, each) for each in uniform], torch.tensor([], dtype=torch.long))


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]])
    uniform = ((np.arange(20_000) + 0.5) / 20_000).tolist()
    shares = np.bincount(chosen(logits, Sampling(), *uniform), minlength=4) / 20_000
    assert np.allclose(shares, logits[0].softmax(-1).numpy(), atol=2e-4)
    # the two likeliest hold 0.91 of the probability: top_p = 0.9 keeps exactly them
    assert set(chosen(logits, Sampling(top_p=0.9), *uniform)) == {1, 2}
    assert chosen(logits, Sampling(temperature=0), 0.01) == [2]
    assert chosen(torch.tensor([[-torch.inf, 0.0]]), Sampling(), 0.0) == [1]


def test_log_probabilities_are_the_models_own(policy: Policy) -> None:
    replies = ["Yes.", "We will write to you on Monday.", "", "x" * 40]
    found = log_probabilities(policy, PROMPTS, replies, batch=4)
    for prompt, reply, ours in zip(PROMPTS, replies, found, strict=True):
        before = policy.chat.prompt_ids(prompt)
        ids = torch.tensor([[*before, *policy.tokenizer(reply, add_special_tokens=False)["input_ids"], 2]])
        with torch.inference_mode():
            logits = policy.model(ids).logits[0].log_softmax(-1)
        expected = logits[len(before) - 1 : -1].gather(-1, ids[0, len(before) :, None]).flatten()
        assert np.allclose(ours, expected.numpy(), atol=1e-4)


def test_a_prompt_too_long_for_the_model_loses_its_beginning(policy: Policy) -> None:
    long = (Message(role="user", content="a" * 2_000),)
    assert len(generate(policy, [long], Sampling(max_tokens=8), seed=0)) == 1


@pytest.mark.parametrize("ref", ["/nowhere/at/all", "./missing", "~/missing-model"])
def test_a_missing_folder_is_named(ref: str) -> None:
    with pytest.raises(ModelNotFound, match="no such folder"):
        load_policy(ref)


def test_a_folder_without_a_model_and_a_folder_without_an_adapter_are_named(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"config\.json"):
        resolve_model(str(tmp_path))
    with pytest.raises(ModelNotFound, match="no adapter"):
        load_policy(str(tiny_model), tmp_path)


def test_an_id_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="no-such/model"):
        load_policy("no-such/model")
