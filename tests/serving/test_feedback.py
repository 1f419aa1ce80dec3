"""Pairs and feedback sent by products, from the request to the log."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest

from storage.errors import Overloaded
from storage.events import Event, JudgmentGiven, Message, PairDrawn, ReplySent, ResponseRated, Sampling, new_id
from storage.settings import Settings
from storage.snapshots.snapshot import current_ratings
from storage.warehouse.entries import Partition
from storage.warehouse.warehouse import Warehouse
from streams.bus.protocol import Position, Record
from streams.bus.quarantine import decoded
from streams.bus.sqlite import SQLiteBus
from tests.serving.conftest import Server, Start

Kind = TypeVar("Kind", bound=Event)

PROMPT = [{"role": "user", "content": "when is the interview ?"}]


def post(server: Server, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = httpx.post(f"{server.url}{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert isinstance(receipt, dict)
    return receipt


def logged(server: Server, kind: type[Kind], topic: str, event_id: str) -> Kind:
    [event] = [event for event in server.events(topic) if str(event.event_id) == event_id]
    assert isinstance(event, kind)
    return event


def test_a_pair_and_its_comparison_are_on_the_log_when_they_are_acknowledged(server: Server) -> None:
    body = {"prompt": PROMPT, "responses": ["on monday", "soon"], "versions": ["bot-1", "bot-2"], "conversation_id": "c-9"}
    paired = post(server, "/v1/pairs", body)
    pair = logged(server, PairDrawn, "feedback.pairs", paired["event_id"])
    assert (str(pair.pair_id), pair.a.text, pair.b.text, pair.a.version, pair.b.version) == (
        paired["pair_id"], "on monday", "soon", "bot-1", "bot-2",
    )  # fmt: skip
    assert (pair.drawn, pair.probability, pair.conversation_id) == ("supplied", 1.0, "c-9")

    given = {
        "type": "comparison", "pair_id": paired["pair_id"], "recruiter": "Ada Lovelace", "choice": "A", "strength": 3, "reason": "a day",
        "shown_first": "B", "seconds": 4.5, "objectives": {"warmth": "tie"},
    }  # fmt: skip
    receipt = post(server, "/v1/feedback", given)
    assert receipt["waiting"] is False
    judgment = logged(server, JudgmentGiven, "feedback.judgments", receipt["event_id"])
    assert (judgment.choice, judgment.strength, judgment.reason, judgment.shown_first, judgment.seconds) == ("A", 3, "a day", "B", 4.5)
    assert judgment.objectives == {"warmth": "tie"}
    assert judgment.recruiter.startswith("r-")
    assert "Lovelace" not in judgment.model_dump_json()


def test_a_judgment_of_an_unknown_pair_is_accepted_and_its_waiting_state_is_null(server: Server) -> None:
    pair_id = str(new_id())
    given = {"type": "comparison", "pair_id": pair_id, "recruiter": "Ada", "choice": "tie"}
    receipt = post(server, "/v1/feedback", given)
    assert receipt["waiting"] is None
    assert str(logged(server, JudgmentGiven, "feedback.judgments", receipt["event_id"]).pair_id) == pair_id

    post(server, "/v1/pairs", {"prompt": PROMPT, "responses": ["x", "y"], "pair_id": pair_id})
    assert post(server, "/v1/feedback", given)["waiting"] is False


def test_a_thumb_says_which_reply_it_is_for(server: Server) -> None:
    reply_id = str(new_id())
    given = {"type": "thumb", "conversation_id": "c-1", "recruiter": "Ada", "thumb": "down", "reply_id": reply_id, "reason": "curt"}
    receipt = post(server, "/v1/feedback", given, **{"X-FeedbackLoop-Source": "simulation"})
    rating = logged(server, ResponseRated, "feedback.ratings", receipt["event_id"])
    assert (rating.thumb, str(rating.reply_id), rating.reason, rating.source) == ("down", reply_id, "curt", "simulation")


def test_an_edit_is_a_pair_and_a_judgment_for_the_rewrite(server: Server) -> None:
    given = {
        "type": "edit",
        "prompt": PROMPT,
        "original": "no",
        "edited": "not yet",
        "recruiter": "Ada",
        "version": "base",
        "reason": "kinder",
    }
    receipt = post(server, "/v1/feedback", given)
    judgment = logged(server, JudgmentGiven, "feedback.judgments", receipt["event_id"])
    [pair] = [event for event in server.events("feedback.pairs") if isinstance(event, PairDrawn) and event.pair_id == judgment.pair_id]
    assert (pair.a.text, pair.a.version, pair.b.text, pair.drawn) == ("no", "base", "not yet", "edited")
    assert (judgment.choice, judgment.recruiter) == ("B", pair.b.version)


def test_of_ratings_sent_at_once_all_are_recorded_and_the_last_on_the_log_holds(server: Server, tmp_path: Path) -> None:
    reply_id, pair_id = str(new_id()), str(new_id())
    bodies = [{"type": "thumb", "reply_id": reply_id, "recruiter": "Ada", "thumb": way} for way in ("up", "down")] * 5
    bodies += [{"type": "comparison", "pair_id": pair_id, "recruiter": "Ada", "choice": side} for side in ("A", "B")] * 5
    before = {partition: end - 1 for partition, end in server.sizes().items()}
    key = str(new_id())
    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=server.url) as client:
        receipts = list(pool.map(lambda body: client.post("/v1/feedback", json=body).json(), bodies))
        keyed = list(pool.map(lambda _: client.post("/v1/feedback", json=bodies[0], headers={"Idempotency-Key": key}).json(), range(8)))
    assert len({receipt["event_id"] for receipt in receipts}) == 20
    assert len({receipt["event_id"] for receipt in keyed}) == 1
    batch = decoded(server.bus.read(before, limit=1_000, wait=0), "sink")
    said = ReplySent(
        event_id=UUID(reply_id), source="product", conversation_id="c-1", prompt=(Message(role="user", content="when ?"),), reply="soon",
        version="v-1", sampling=Sampling(), stratum="training",
    )  # fmt: skip
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.apply([*batch.entries, (Partition("chat.replies", 0), 0, said)])
        ratings = [event for event in warehouse.events(ResponseRated) if isinstance(event, ResponseRated)]
        assert len(ratings) == 11
        assert {str(event.event_id) for event in ratings} >= {receipt["event_id"] for receipt in receipts[:10]}
        [row] = current_ratings(warehouse, ("product",)).to_pylist()
        assert row["good"] is (ratings[-1].thumb == "up")
        judgments = warehouse.events(JudgmentGiven)
        held = warehouse.query("join_standing", {"ids": [pair_id]}).to_pylist()
        assert [row["event_id"] for row in held] == [str(judgments[-1].event_id)]


class FullBus(SQLiteBus):
    """A bus that refuses entries while ``full`` is set."""

    full = False

    def publish(self, records: Sequence[Record], *, timeout: float) -> list[Position]:
        if self.full:
            raise Overloaded("the log is full", retry_after=7)
        return super().publish(records, timeout=timeout)


@pytest.fixture
def full(start: Start, settings: Settings) -> Iterator[Server]:
    bus = FullBus(settings.common.bus_url.removeprefix("sqlite:///"))
    with start(settings, bus=bus) as server:
        bus.full = True
        yield server


def test_nothing_is_acknowledged_when_the_log_is_full(full: Server) -> None:
    chat = {"model": "champion", "messages": PROMPT, "max_tokens": 3}
    given = {"type": "comparison", "pair_id": str(new_id()), "recruiter": "Ada", "choice": "A"}
    pair = {"prompt": PROMPT, "responses": ["a", "b"]}
    requests = {"/v1/chat/completions": chat, "/v1/pairs": pair, "/v1/feedback": given, "/v1/feedback/bulk": {"items": [given] * 3}}
    for path, body in requests.items():
        answer = httpx.post(f"{full.url}{path}", json=body)
        assert (answer.status_code, answer.headers["Retry-After"], answer.json()["error"]["code"]) == (503, "7", "overloaded")

    stream = httpx.post(f"{full.url}/v1/chat/completions", json=chat | {"stream": True}).text
    assert '"error"' in stream
    assert '"finish_reason":"' not in stream
    assert "[DONE]" not in stream
    assert not any(full.sizes().values())


@pytest.mark.processes
def test_the_cap_on_recruiters_per_pair_limits_invented_names(server: Server) -> None:
    paired = post(server, "/v1/pairs", {"prompt": PROMPT, "responses": ["at noon", "at nine"]})
    asked = {"type": "comparison", "pair_id": paired["pair_id"], "choice": "A"}
    answers = [httpx.post(f"{server.url}/v1/feedback", json=asked | {"recruiter": f"invented {n}"}) for n in range(205)]
    assert [answer.status_code for answer in answers] == [200] * 25 + [400] * 180
    assert "25 people have judged this pair" in answers[-1].json()["error"]["message"]
    assert answers[-1].json()["error"]["param"] == "pair_id"
    judgments = [event for event in server.events("feedback.judgments") if isinstance(event, JudgmentGiven)]
    logged_there = [event for event in judgments if str(event.pair_id) == paired["pair_id"]]
    assert len(logged_there) == 25
