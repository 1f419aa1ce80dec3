"""Simulated people, against a fake serving and hub with the documented API."""

import asyncio
import json
import random
from typing import Any

import httpx

from simulation.corpus import draw_reply
from simulation.people import Chats, Judgments, candidates_chat, recruiters_judge, reviewer_decides
from simulation.recruiters import draw_recruiters
from simulation.world import World


class FakeServer:
    """Answers chats with replies of the corpus, queues a pair for each, takes judgments once; refuses the first request of each kind."""

    def __init__(self, chats: Chats) -> None:
        self.chats, self.rng = chats, random.Random(0)
        self.requests: list[httpx.Request] = []
        self.pairs: dict[str, dict[str, Any]] = {}
        self.judged: list[dict[str, Any]] = []
        self.held: dict[str, str] = {}
        self.refused: set[str] = set()
        self.recorded: list[dict[str, Any]] = []
        self.decisions: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        if request.method == "POST" and path not in self.refused:
            self.refused.add(path)
            return httpx.Response(503, headers={"Retry-After": "0"}, json={"error": {"message": "busy"}})
        body = json.loads(request.content) if request.content else {}
        if path == "/v1/chat/completions":
            return self.chat(body)
        if path == "/v1/feedback":
            assert self.held[body["pair_id"]] == body["recruiter"]
            self.judged.append(body)
            return httpx.Response(202, json={})
        if path == "/v1/outcomes":
            self.recorded.append(body)
            return httpx.Response(200, json={})
        if path == "/v1/queue":
            return self.queue(request.url.params["recruiter"], int(request.url.params["limit"]))
        if path == "/v1/queue/release":
            assert all(self.held.pop(pair_id) == body["recruiter"] for pair_id in body["pair_ids"])
            return httpx.Response(204)
        if path == "/v1/versions":
            states = [{"version": "v1", "status": "rejected"}, {"version": "v2", "status": "awaiting review"}]
            return httpx.Response(200, json={"versions": states})
        self.decisions.append((path, body))
        return httpx.Response(200, json={})

    def chat(self, body: dict[str, Any]) -> httpx.Response:
        conversation = self.chats.told[body["metadata"]["conversation_id"]]
        record = conversation.record_of(body["messages"])
        a, b = draw_reply(self.rng, record), draw_reply(self.rng, record)
        pair_id = f"pair-{len(self.pairs)}"
        self.pairs[pair_id] = {
            "pair_id": pair_id,
            "conversation_id": conversation.conversation_id,
            "prompt": body["messages"],
            "a": a,
            "b": b,
            "shown_first": "A",
            "stratum": "training",
        }
        return httpx.Response(200, json={"choices": [{"message": {"role": "assistant", "content": a}}]})

    def queue(self, recruiter: str, limit: int) -> httpx.Response:
        done = {judgment["pair_id"] for judgment in self.judged}
        free = [p for p in self.pairs.values() if self.held.get(p["pair_id"], recruiter) == recruiter and p["pair_id"] not in done]
        self.held |= {p["pair_id"]: recruiter for p in free[:limit]}
        return httpx.Response(200, json={"pairs": free[:limit]})


async def _simulate(world: World, server: FakeServer, chats: Chats, judgments: int, rate: float | None = None) -> Judgments:
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        await candidates_chat(client, world, total=12, seed=1, chats=chats, serving="http://serving")
        recruiters = draw_recruiters(world, 4)
        return await recruiters_judge(
            client,
            world,
            chats,
            recruiters=recruiters,
            judgments=judgments,
            seed=1,
            serving="http://serving",
            hub="http://hub",
            rate=rate,
            patience=1,
        )


def test_every_turn_is_one_chat_and_carries_the_history() -> None:
    chats = Chats()
    server = FakeServer(chats)
    asyncio.run(_simulate(World(1), server, chats, 1))
    turns = sum(len(conversation.asks) for conversation in chats.told.values())
    assert chats.replies == len(server.pairs) == turns > 12
    for pair in server.pairs.values():
        assert [m["role"] for m in pair["prompt"]][1:] == ["user", "assistant"] * (len(pair["prompt"]) // 2 - 1) + ["user"]


def test_everything_is_marked_as_simulated_and_reveals_nothing_of_the_truth() -> None:
    chats = Chats()
    server = FakeServer(chats)
    asyncio.run(_simulate(World(2), server, chats, 8))
    assert all(request.headers["X-FeedbackLoop-Source"] == "simulation" for request in server.requests)
    for request in server.requests:
        if request.url.path == "/v1/outcomes":
            continue  # a product may record groups there: only audits read them
        assert not any(word in request.content for word in (b"north", b"south", b"concrete", b"utility"))


def test_each_candidates_group_and_decision_are_recorded_once_the_chat_is_over() -> None:
    chats = Chats()
    server = FakeServer(chats)
    asyncio.run(_simulate(World(2), server, chats, 1))
    assert chats.recorded == len(server.recorded) == len(chats.told) == 12
    told = {(c.candidate, c.records[0].group) for c in chats.told.values()}
    assert {(body["candidate"], body["groups"]["name_group"]) for body in server.recorded} == told
    outcomes = [body["outcome"] for body in server.recorded if "outcome" in body]
    decided = {id: c.records[0].stage for id, c in chats.told.items() if c.records[0].stage in ("contract", "not selected")}
    assert {each["outcome_id"]: each["selected"] for each in outcomes} == {id: stage == "contract" for id, stage in decided.items()}
    assert outcomes


def test_recruiters_judge_as_often_as_wanted_and_never_a_pair_twice() -> None:
    chats = Chats()
    server = FakeServer(chats)
    result = asyncio.run(_simulate(World(3), server, chats, 10))
    assert result.count == len(result.accepted) == len(server.judged) == 10
    assert len({(j["pair_id"], j["recruiter"]) for j in server.judged}) == 10
    assert result.refused == 1  # the server refused once, and they retried
    assert set(server.judged[0]) == {"type", "pair_id", "recruiter", "choice", "strength", "reason", "shown_first", "seconds"}


def test_a_recruiter_holds_one_pair_at_a_time_and_releases_those_it_cannot_judge() -> None:
    chats = Chats()
    server = FakeServer(chats)
    server.pairs = {f"strange-{n}": {"pair_id": f"strange-{n}", "conversation_id": f"a visitor's {n}"} for n in range(7)}
    result = asyncio.run(_simulate(World(3), server, chats, 10))
    assert result.count == 10
    assert result.unknown == {f"strange-{n}" for n in range(7)}
    judged = {judgment["pair_id"] for judgment in server.judged}
    assert set(server.held) == judged


def test_at_a_calm_pace_recruiters_wait_before_they_take_a_pair_and_not_while_they_hold_it() -> None:
    chats = Chats()
    server = FakeServer(chats)
    result = asyncio.run(_simulate(World(3), server, chats, 2, rate=2.0))
    assert result.count == 2
    paths = [request.url.path for request in server.requests if request.url.path in ("/v1/queue", "/v1/feedback")]
    assert paths[:2] == ["/v1/queue", "/v1/feedback"]  # three others waited for their turn


def test_a_drifting_world_turns_when_half_of_the_judgments_are_in() -> None:
    world = World(4, drift=True)
    before, chats = world.taste, Chats()
    asyncio.run(_simulate(world, FakeServer(chats), chats, 6))
    assert world.taste != before


def test_the_reviewer_decides_on_the_version_that_is_due() -> None:
    server = FakeServer(Chats())
    server.refused.add("/v1/versions/v2/review")

    async def review() -> str | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
            return await reviewer_decides(client, hub="http://hub")

    assert asyncio.run(review()) == "v2"
    (path, body) = server.decisions[0]
    assert path == "/v1/versions/v2/review"
    assert body["decision"] == "approve"
    assert body["reviewer"]
    assert body["reason"]
