"""Best of n: several replies are drawn, and the one that the reward model prefers is sent.

Only conversations of the training stratum are answered so, because the evaluation stratum compares policies as they are. The number is
recorded with the reply's sampling parameters, and a challenger in a duel draws as many.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

from starlette.concurrency import run_in_threadpool

from serving.models.backend import Answer, Answering, Delta, NotReady, Question, token_counts
from serving.reranking import MayNotRank, Reranker
from storage.events import derived_id

log = logging.getLogger(__name__)


async def best_answer(model: Answering, ranker: Reranker, question: Question, *, patient: bool = False) -> Answer:
    """The best of ``sampling.best_of`` replies, with the tokens of all of them; the first one that is not empty if nothing may rank.

    Raises what :meth:`Answering.complete` raises.
    """
    count = question.sampling.best_of
    if count == 1:
        return await model.complete(question, patient=patient)
    drawn = await asyncio.gather(*(model.complete(_nth(question, attempt), patient=patient) for attempt in range(count)))
    answers = [answer for answer in drawn if answer.text.strip() and answer.version == drawn[0].version] or drawn[:1]
    chosen = answers[0]
    if len({answer.text for answer in answers}) > 1:
        try:
            chosen = answers[await run_in_threadpool(ranker.best, question.prompt, [answer.text for answer in answers])]
        except (MayNotRank, NotReady) as reason:
            log.warning("the first of %d replies is sent: %s", len(answers), reason)
    completion = sum(answer.usage.get("completion_tokens", 0) for answer in drawn)
    return replace(chosen, usage=token_counts(chosen.usage.get("prompt_tokens", 0), completion))


async def stream_best(model: Answering, ranker: Reranker, question: Question) -> AsyncIterator[Delta | Answer]:
    """As :meth:`Answering.stream`; the best of several replies comes in one piece, when all of them are there."""
    if question.sampling.best_of == 1:
        async for item in model.stream(question):
            yield item
        return
    answer = await best_answer(model, ranker, question)
    yield Delta({"role": "assistant", "content": answer.text})
    yield answer


def _nth(question: Question, attempt: int) -> Question:
    """One draw: with a seed of its own where the request has one."""
    seed = question.sampling.seed
    if seed is None:
        return replace(question, sampling=question.sampling.model_copy(update={"best_of": 1}))
    return question.again(derived_id("best of", seed, attempt).int % 2**63, temperature=None)
