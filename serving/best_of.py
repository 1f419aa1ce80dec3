"""Best of n: several replies are drawn, and the one that the reward model prefers is sent.

Only conversations of the training stratum are answered so, because the evaluation stratum compares policies as they are. The number is
recorded with the reply's sampling parameters, and a challenger in a duel draws as many.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from starlette.concurrency import run_in_threadpool

from serving.models.backend import Answering, NotReady
from serving.reranking import MayNotRank, Reranker
from storage.events import Message, Sampling, derived_id
from trainers.models.reply import Reply

log = logging.getLogger(__name__)


async def best_reply(model: Answering, ranker: Reranker, prompt: Sequence[Message], sampling: Sampling, *, patient: bool = False) -> Reply:
    """The best of ``sampling.best_of`` replies, with the tokens of all of them; the first one that is not empty if nothing may rank.

    Raises what :meth:`Answering.complete` raises.
    """
    if sampling.best_of == 1:
        return await model.complete(prompt, sampling, patient=patient)
    draws = (model.complete(prompt, _nth(sampling, attempt), patient=patient) for attempt in range(sampling.best_of))
    drawn = await asyncio.gather(*draws)
    replies = [reply for reply in drawn if reply.text.strip() and reply.version == drawn[0].version] or drawn[:1]
    chosen = replies[0]
    if len({reply.text for reply in replies}) > 1:
        try:
            chosen = replies[await run_in_threadpool(ranker.best, prompt, [reply.text for reply in replies])]
        except (MayNotRank, NotReady) as reason:
            log.warning("the first of %d replies is sent: %s", len(replies), reason)
    return replace(chosen, completion_tokens=sum(reply.completion_tokens for reply in drawn))


async def stream_best(model: Answering, ranker: Reranker, prompt: Sequence[Message], sampling: Sampling) -> AsyncIterator[str | Reply]:
    """As :meth:`Answering.stream`; the best of several replies comes in one piece, when all of them are there."""
    if sampling.best_of == 1:
        async for item in model.stream(prompt, sampling):
            yield item
        return
    reply = await best_reply(model, ranker, prompt, sampling)
    yield reply.text
    yield reply


def _nth(sampling: Sampling, attempt: int) -> Sampling:
    """The parameters of one draw: with a seed of its own where the request has one."""
    seed = None if sampling.seed is None else derived_id("best of", sampling.seed, attempt).int % 2**63
    return sampling.model_copy(update={"seed": seed, "best_of": 1})
