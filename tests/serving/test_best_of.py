"""Best of n: which reply is sent, what is recorded, and what happens when nothing may rank."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from serving.best_of import best_answer, stream_best
from serving.models.backend import Answer, Choice, Delta, Question, token_counts
from serving.reranking import Reranker
from serving.settings import ServingSettings
from storage.events import Message, Sampling
from trainers.reward.model import Ranked

PROMPT = (Message(role="user", content="When is it?"),)


@dataclass
class Drawing:
    """A model that draws these texts in turn."""

    texts: list[str]
    asked: list[Sampling] = field(default_factory=list)

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        self.asked.append(question.sampling)
        return Answer("base", [Choice(self.texts[len(self.asked) - 1], "stop")], token_counts(5, 3))

    async def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        yield Delta({"content": "piece"})
        yield await self.complete(question)


class Longest:
    """A reward model that prefers long replies."""

    def rerank(self, prompt: Any, documents: Sequence[str], top_n: int | None = None) -> list[Ranked]:
        return [Ranked(max(range(len(documents)), key=lambda i: len(documents[i])), 0.9)]


def ranker(model: Any = Longest(), refusal: str | None = None) -> Reranker:
    made = Reranker(None)
    made._model, made._refusal = model, refusal
    return made


def test_the_reward_models_choice_is_sent_with_the_tokens_of_all_draws() -> None:
    model = Drawing(["On Monday.", "On Monday at nine.", "Soon."])
    answer = asyncio.run(best_answer(model, ranker(), Question(PROMPT, Sampling(best_of=3, seed=4))))
    assert (answer.text, answer.usage) == ("On Monday at nine.", token_counts(5, 9))
    seeds = [each.seed for each in model.asked]
    assert len(set(seeds)) == 3
    assert [each.best_of for each in model.asked] == [1, 1, 1]


def test_one_draw_is_sent_as_it_is() -> None:
    model = Drawing(["On Monday."])
    assert asyncio.run(best_answer(model, ranker(None, "no model"), Question(PROMPT, Sampling(seed=4)))).text == "On Monday."
    assert model.asked == [Sampling(seed=4)]


def test_empty_replies_are_never_chosen() -> None:
    assert asyncio.run(best_answer(Drawing(["  ", "Yes."]), ranker(), Question(PROMPT, Sampling(best_of=2)))).text == "Yes."
    assert asyncio.run(best_answer(Drawing(["", " "]), ranker(), Question(PROMPT, Sampling(best_of=2)))).text == ""


@pytest.mark.parametrize("model", [None, Longest()])
def test_a_model_that_may_not_rank_costs_no_reply(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    refusal = None if model is None else "its checks have failed"
    assert asyncio.run(best_answer(Drawing(["a", "bb"]), ranker(model, refusal), Question(PROMPT, Sampling(best_of=2)))).text == "a"
    assert "the first of 2 replies is sent" in caplog.text


def test_a_stream_of_one_draw_comes_in_pieces_and_of_several_in_one() -> None:
    async def pieces(best_of: int) -> list[Delta | Answer]:
        return [item async for item in stream_best(Drawing(["a", "bb"]), ranker(), Question(PROMPT, Sampling(best_of=best_of)))]

    assert asyncio.run(pieces(1))[0] == Delta({"content": "piece"})
    piece, answer = asyncio.run(pieces(2))
    assert isinstance(answer, Answer)
    assert piece == Delta({"role": "assistant", "content": "bb"})
    assert answer.text == "bb"


def test_without_a_reward_model_the_setting_is_refused() -> None:
    with pytest.raises(ValidationError, match="best_of: a reward model has to choose: set reward_model"):
        ServingSettings(best_of=4)
