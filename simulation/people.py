"""Simulated candidates, recruiters and a reviewer: ordinary HTTP clients of serving and hub, paced and seeded.

Everything they send is marked as simulated. The true record of each conversation stays in this process, in ``Chats.told``; recruiters look
it up by the conversation's id, so that they judge by the truth while no station sees more than text.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from simulation.calls import AGAIN, HEADERS, HUB, SERVING, pause, post, queue, release, versions
from simulation.outcomes import recorded
from simulation.recruiters import Recruiter
from simulation.world import Conversation, Message, World

LIMITS = (1, 5, 50)  # pairs that a recruiter asks for: one, then more if it cannot judge the first


@dataclass
class Chats:
    """The candidates' conversations by id, the seconds that each answer took, and how many candidates' groups were recorded."""

    told: dict[str, Conversation] = field(default_factory=dict)
    replies: int = 0
    refused: int = 0
    seconds: list[float] = field(default_factory=list)
    recorded: int = 0


@dataclass
class Judgments:
    """The recruiters' judgments. ``accepted`` holds (pair, recruiter, wall-clock time of the 2xx) of each."""

    choices: Counter[str] = field(default_factory=Counter)
    accepted: list[tuple[str, str, float]] = field(default_factory=list)
    agreed: int = 0  # decisive answers that agree with the true utility
    decisive: int = 0
    unknown: set[str] = field(default_factory=set)  # pairs from other candidates' conversations
    refused: int = 0

    @property
    def count(self) -> int:
        return sum(self.choices.values())


async def candidates_chat(
    client: httpx.AsyncClient,
    world: World,
    *,
    total: int,
    seed: int,
    chats: Chats | None = None,
    serving: str = SERVING,
    concurrency: int = 8,
    rate: float | None = None,
    deadline: float = 600.0,
) -> Chats:
    """Let ``total`` candidates hold one conversation each, and record their groups and outcomes beside it, as the product would.

    Parameters
    ----------
    chats
        Filled while it runs; by default a new one. Share it with ``recruiters_judge``.
    rate
        Conversations begun per second, evenly; by default as fast as ``concurrency`` allows.
    deadline
        Seconds after which a turn that keeps being refused is given up.
    """
    chats = chats if chats is not None else Chats()
    rng = random.Random(f"candidates {seed}")
    conversations = [world.conversation(rng) for _ in range(total)]
    gate = asyncio.Semaphore(concurrency)
    started = time.monotonic()
    recordings: list[asyncio.Task[None]] = []

    async def hold(number: int, conversation: Conversation) -> None:
        if rate:
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        async with gate:
            await _hold(client, conversation, chats, serving, deadline)
        recordings.append(asyncio.create_task(_record(client, conversation, chats, serving)))  # the next chat does not wait for it

    await asyncio.gather(*(hold(number, conversation) for number, conversation in enumerate(conversations)))
    await asyncio.gather(*recordings)
    return chats


async def recruiters_judge(
    client: httpx.AsyncClient,
    world: World,
    chats: Chats,
    *,
    recruiters: Sequence[Recruiter],
    judgments: int,
    seed: int,
    result: Judgments | None = None,
    serving: str = SERVING,
    hub: str = HUB,
    rate: float | None = None,
    drift_after: int | None = None,
    patience: float = 60.0,
) -> Judgments:
    """Let the recruiters judge pairs from the queue until ``judgments`` are accepted.

    Parameters
    ----------
    rate
        Judgments per second, over all recruiters; by default as fast as the queue hands out pairs.
    drift_after
        Accepted judgments after which a drifting world changes its taste; by default half of ``judgments``.
    patience
        Seconds without any pair after which it ends early.
    """
    result = result if result is not None else Judgments()
    shift = _Shift(judgments, rate, judgments // 2 if drift_after is None else drift_after, time.monotonic() + patience, patience)
    workers = (_work(client, world, chats, recruiter, seed, result, shift, serving, hub) for recruiter in recruiters)
    await asyncio.gather(*workers)
    return result


async def reviewer_decides(
    client: httpx.AsyncClient,
    *,
    version: str | None = None,
    decision: Literal["approve", "reject"] = "approve",
    reviewer: str = "simulated reviewer",
    reason: str = "Read the ten pairs; the gates' figures agree with them.",
    hub: str = HUB,
    deadline: float = 300.0,
) -> str | None:
    """Wait until a version awaits review, decide on it, and return its name; None after the deadline.

    With ``version`` only that one is decided on.
    """
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        due = [v["version"] for v in await versions(client, hub) if v.get("status") == "awaiting review"]
        chosen = next((name for name in due if version in (None, name)), None)
        if chosen is not None:
            answer = await client.post(
                f"{hub}/v1/versions/{chosen}/review",
                json={"decision": decision, "reviewer": reviewer, "reason": reason},
                headers=HEADERS,
            )
            answer.raise_for_status()
            return str(chosen)
        await asyncio.sleep(0.5)
    return None


async def _hold(client: httpx.AsyncClient, conversation: Conversation, chats: Chats, serving: str, deadline: float) -> None:
    chats.told[conversation.conversation_id] = conversation
    replies: list[str] = []
    for _ in conversation.asks:
        reply = await _ask(client, conversation, conversation.prompt(replies), chats, serving, deadline)
        if reply is None:
            return
        replies.append(reply)


async def _record(client: httpx.AsyncClient, conversation: Conversation, chats: Chats, serving: str) -> None:
    """Record the candidate's group and outcome; given up after twenty refusals."""
    for _ in range(20):
        answer = await post(client, f"{serving}/v1/outcomes", recorded(conversation))
        if answer is not None and answer.is_success:
            chats.recorded += 1
            return
        if answer is not None and answer.status_code not in AGAIN:
            answer.raise_for_status()
        await asyncio.sleep(pause(answer))


async def _ask(
    client: httpx.AsyncClient, conversation: Conversation, prompt: list[Message], chats: Chats, serving: str, deadline: float
) -> str | None:
    body = {
        "model": "champion",
        "messages": prompt,
        "user": conversation.candidate,
        "metadata": {"conversation_id": conversation.conversation_id},
    }
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        started = time.monotonic()
        answer = await post(client, f"{serving}/v1/chat/completions", body)
        if answer is not None and answer.is_success:
            chats.seconds.append(time.monotonic() - started)
            chats.replies += 1
            return str(answer.json()["choices"][0]["message"]["content"])
        chats.refused += 1
        if answer is not None and answer.status_code not in AGAIN:
            answer.raise_for_status()
        await asyncio.sleep(pause(answer))
    return None


@dataclass
class _Shift:
    """State that the recruiters of one call share: judgments wanted and claimed, the pace, and when to give up."""

    wanted: int
    rate: float | None
    drift_after: int
    ends: float
    patience: float
    claimed: int = 0
    _free_at: float = field(default_factory=time.monotonic)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def over(self) -> bool:
        return self.claimed >= self.wanted or time.monotonic() > self.ends

    async def pace(self) -> None:
        """Wait for the time of the next judgment, in turn; a recruiter who then finds no pair has used its turn."""
        if self.rate:
            async with self._turn:
                await asyncio.sleep(max(0.0, self._free_at - time.monotonic()))
                self._free_at = time.monotonic() + 1 / self.rate


async def _work(
    client: httpx.AsyncClient,
    world: World,
    chats: Chats,
    recruiter: Recruiter,
    seed: int,
    result: Judgments,
    shift: _Shift,
    serving: str,
    hub: str,
) -> None:
    rng = random.Random(f"judging {seed} {recruiter.name}")
    judged: set[str] = set()
    while not shift.over():
        await shift.pace()
        pair = await _next_pair(client, chats, recruiter, judged, result, hub)
        if pair is None:
            await asyncio.sleep(1.0)
            continue
        if shift.over():
            return
        shift.ends = time.monotonic() + shift.patience
        shift.claimed += 1
        judged.add(pair["pair_id"])
        if not await _judge(client, world, chats.told[pair["conversation_id"]], recruiter, pair, rng, result, serving):
            shift.claimed -= 1
        elif result.count == shift.drift_after:
            world.turn()


async def _next_pair(
    client: httpx.AsyncClient, chats: Chats, recruiter: Recruiter, judged: set[str], result: Judgments, hub: str
) -> dict[str, Any] | None:
    """A pair to judge now. Other pairs leased with it are released, for people at the rating page."""
    for limit in LIMITS:
        pairs = await queue(client, hub, recruiter.name, limit)
        left = [pair for pair in pairs if pair["pair_id"] not in judged]  # the queue may still hold pairs judged just now
        found = next((pair for pair in left if pair["conversation_id"] in chats.told), None)
        if others := {pair["pair_id"] for pair in left if pair is not found}:
            await release(client, hub, recruiter.name, sorted(others))
        result.unknown |= {pair["pair_id"] for pair in left if pair["conversation_id"] not in chats.told}
        if found is not None or len(pairs) < limit:
            return found
    return None


async def _judge(
    client: httpx.AsyncClient,
    world: World,
    conversation: Conversation,
    recruiter: Recruiter,
    pair: dict[str, Any],
    rng: random.Random,
    result: Judgments,
    serving: str,
) -> bool:
    """Judge one pair and send the judgment; False if it was not accepted."""
    record = conversation.record_of(pair["prompt"])
    answer = recruiter.judge(record, pair["prompt"], pair["a"], pair["b"], pair["shown_first"], rng)
    body = {
        "type": "comparison",
        "pair_id": pair["pair_id"],
        "recruiter": recruiter.name,
        "choice": answer.choice,
        "strength": answer.strength,
        "reason": answer.reason,
        "shown_first": answer.shown_first,
        "seconds": answer.seconds,
    }
    for _ in range(20):
        response = await post(client, f"{serving}/v1/feedback", body)
        if response is not None and response.is_success:
            break
        result.refused += 1
        if response is not None and response.status_code not in AGAIN:
            response.raise_for_status()
        await asyncio.sleep(pause(response))
    else:
        return False
    result.accepted.append((pair["pair_id"], recruiter.name, time.time()))
    result.choices[answer.choice] += 1
    gap = world.true_utility(record, pair["a"]) - world.true_utility(record, pair["b"])
    if answer.choice in ("A", "B") and gap:
        result.decisive += 1
        result.agreed += (answer.choice == "A") == (gap > 0)
    return True
