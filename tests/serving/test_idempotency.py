"""Idempotency keys and bulk: a repeated request is one event, in this process, after a restart and in the warehouse."""

from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import Request

from access.caller import CALLER, Caller
from access.permissions import EVERYTHING
from serving.feedback.idempotency import ENTRY_BYTES, IdempotencyKeys, KeyReused, Remembered, request_key
from serving.openai.recent_items import RecentItems
from storage.events import new_id
from storage.settings import Settings
from storage.warehouse.verify import verify
from storage.warehouse.warehouse import Warehouse
from streams.bus.quarantine import decoded
from streams.bus.topics import TOPICS
from tests.serving.conftest import Server, Start

CLIENT = httpx.Client()
PAIR = "0195f0a0-0000-7000-8000-000000000001"
PROMPT = [{"role": "user", "content": "when is the interview ?"}]
COMPARISON = {"type": "comparison", "pair_id": PAIR, "recruiter": "Ada", "choice": "A"}
THUMB = {"type": "thumb", "conversation_id": "c-1", "recruiter": "Ada", "thumb": "up"}
EDIT = {"type": "edit", "prompt": PROMPT, "original": "no", "edited": "not yet", "recruiter": "Ada"}
OUTCOME = {"candidate": "ana", "groups": {"sex": "female"}, "outcome": {"position": "nurse", "stage": "screening", "selected": True}}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/feedback", COMPARISON),
    ("/v1/feedback", THUMB),
    ("/v1/feedback", {"type": "score", "conversation_id": "c-1", "recruiter": "Ada", "score": 2, "scale": [1, 5]}),
    ("/v1/feedback", EDIT),
    ("/v1/feedback", {"type": "edit", "conversation_id": "c-1", "edited": "not yet", "recruiter": "Ada"}),
    ("/v1/feedback", {"type": "withdrawal", "pair_id": PAIR, "recruiter": "Ada"}),
    ("/v1/feedback/bulk", {"items": [COMPARISON, COMPARISON | {"choice": "B"}, THUMB, EDIT]}),
    ("/v1/pairs", {"prompt": PROMPT, "responses": ["on monday", "soon"]}),
    ("/v1/outcomes", OUTCOME),
]


@pytest.fixture
def server(unpaired: Server) -> Server:
    return unpaired


def send(server: Server, path: str, body: object, key: str | None = None, **headers: str) -> httpx.Response:
    return CLIENT.post(f"{server.url}{path}", json=body, headers=headers | ({} if key is None else {"Idempotency-Key": key}))


def error_of(answer: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert isinstance(error, dict)
    return error


def test_a_repeat_gets_the_first_receipt_and_is_recorded_once(server: Server) -> None:
    key = str(new_id())
    for path, body in REQUESTS:
        first, before = send(server, path, body, key), server.sizes()
        again = send(server, path, dict(reversed(body.items())), f'"{key}"')  # in the draft's syntax, fields in another order
        assert (first.status_code, again.status_code) == (200, 200), first.text
        assert again.content == first.content
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert server.sizes() == before
        key = str(new_id())


def test_keys_of_another_path_source_or_value_are_other_requests(server: Server) -> None:
    key = str(new_id())
    answers = [
        send(server, "/v1/feedback", THUMB, key),
        send(server, "/v1/feedback", THUMB, key, **{"X-FeedbackLoop-Source": "simulation"}),
        send(server, "/v1/feedback", THUMB, str(new_id())),
        send(server, "/v1/feedback", THUMB),
    ]
    assert len({answer.json()["event_id"] for answer in answers}) == 4
    assert send(server, "/v1/outcomes", OUTCOME, key).status_code == 200


def test_a_key_with_another_body_is_refused_and_one_of_a_refused_request_may_be_used_again(server: Server) -> None:
    key = str(new_id())
    wrong = send(server, "/v1/feedback", EDIT | {"edited": "no"}, key)
    assert error_of(wrong)["param"] == "edited"
    assert send(server, "/v1/feedback", EDIT, key).status_code == 200
    before = server.sizes()
    error = error_of(send(server, "/v1/feedback", EDIT | {"edited": "never"}, key), 422)
    assert (error["code"], error["param"]) == ("idempotency_key_reused", "Idempotency-Key")
    assert server.sizes() == before


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "caf\u00e9".encode(), "a\tb"])
def test_a_malformed_key_is_refused(server: Server, key: str | bytes) -> None:
    before = server.sizes()
    answer = CLIENT.post(
        f"{server.url}/v1/feedback", json=THUMB, headers={b"Idempotency-Key": key if isinstance(key, bytes) else key.encode()}
    )
    assert error_of(answer)["param"] == "Idempotency-Key"
    twice = CLIENT.post(f"{server.url}/v1/feedback", json=THUMB, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert error_of(twice)["param"] == "Idempotency-Key"
    assert server.sizes() == before


def test_after_a_restart_a_repeat_is_the_same_event_for_the_warehouse(settings: Settings, start: Start, tmp_path: Path) -> None:
    keys = [f"request {n}" for n in range(len(REQUESTS))]
    settings = settings.with_values(upstream={"url": "http://127.0.0.1:9/v1", "model": "m"})
    answers: list[list[dict[str, Any]]] = []
    other: list[str] = []
    for thumb in ("up", "down"):  # the second server is a restart, and as good as a replica
        with start(settings) as server:
            answers.append([send(server, path, body, key).json() for (path, body), key in zip(REQUESTS, keys, strict=True)])
            # another body under the same key, which nobody remembers after the restart
            other.append(send(server, "/v1/feedback", THUMB | {"thumb": thumb}, "reused").json()["event_id"])
            entries = server.bus.read(dict.fromkeys(server.bus.bounds(list(TOPICS)), -1), limit=100_000, wait=0)
    assert without_state(answers[0]) == without_state(answers[1])
    assert other[0] == other[1]
    batch = decoded(entries, "sink")
    with Warehouse.open(tmp_path / "warehouse.duckdb") as warehouse:
        warehouse.claim_epoch(1, published=0)
        reasons = [refusal.reason for entry in batch.entries for refusal in warehouse.apply([entry]).refused]
        assert reasons == [f"event id {other[0]} was used before with other content (thumb)"]
        ids = {event.event_id for _, event in batch.events}
        stored = [event.event_id for kind in {type(event) for _, event in batch.events} for event in warehouse.events(kind)]
        assert sorted(stored) == sorted(ids)
        assert len(batch.events) == 2 * len(ids)
        log = [(entry.partition.topic, 0, entry.offset, entry.value) for entry in entries]
        assert [finding for finding in verify(warehouse, log).findings if finding.what != "state"] == []


def without_state(answers: list[dict[str, Any]]) -> list[Any]:
    """Receipts without what the process knows of the pair at that moment."""
    return [
        {"results": without_state(answer["results"])} if "results" in answer else {k: v for k, v in answer.items() if k != "waiting"}
        for answer in answers
    ]


def test_each_caller_has_its_own_keys() -> None:
    def key_of(name: str) -> UUID | None:
        scope = {"type": "http", "path": "/v1/feedback", "headers": [(b"idempotency-key", b"k")], "query_string": b"", "server": ("h", 1)}
        return request_key(Request({**scope, CALLER: Caller("open", name, EVERYTHING)}))

    assert key_of("one") == key_of("one")
    assert len({key_of("one"), key_of("other"), key_of("")}) == 3


def test_the_items_of_one_caller_are_not_anothers() -> None:
    recent = RecentItems()
    recent.of("one").keep([{"id": "msg_1", "text": "confidential"}])
    assert recent.of("other").find("msg_1") is None
    assert recent.of("one").find("msg_1") is not None


def test_the_keys_of_a_process_are_bounded() -> None:
    keys, body = IdempotencyKeys(most=10 * (ENTRY_BYTES + 100)), b"x" * 100
    ids = [UUID(int=n) for n in range(30)]
    for key in ids:
        assert keys.begin(key, b"one") is None
        keys.answered(key, Remembered(b"one", 200, body))
    assert keys.begin(ids[-1], b"one") == Remembered(b"one", 200, body)
    assert keys.begin(ids[0], b"two") is None  # forgotten
    with pytest.raises(KeyReused):
        keys.begin(ids[-1], b"two")


def test_a_bulk_is_one_commit_with_a_result_for_each_item_in_order(server: Server) -> None:
    pair_id = str(new_id())
    items: list[Any] = [
        COMPARISON | {"pair_id": pair_id},
        COMPARISON | {"pair_id": pair_id, "strength": 9},
        THUMB,
        {"type": "applause"},
        EDIT | {"edited": "no"},
        THUMB | {"reason": "10" * 40_000},
        COMPARISON | {"pair_id": pair_id, "choice": "B"},
        THUMB | {"x": 10**30},
    ]
    before = {event.event_id for event in server.events(*TOPICS)}
    answer = send(server, "/v1/feedback/bulk", {"items": items})
    assert answer.status_code == 207
    body = answer.json()
    assert (body["accepted"], body["refused"]) == (3, 5)
    assert [line["index"] for line in body["results"]] == list(range(8))
    assert [line["error"]["param"] if line["status"] == "refused" else None for line in body["results"]] == [
        None, "strength", None, "type", "edited", "reason", None, "x",
    ]  # fmt: skip
    accepted = [line["event_id"] for line in body["results"] if line["status"] == "accepted"]
    fresh = [str(event.event_id) for event in server.events(*TOPICS) if event.event_id not in before]
    assert sorted(fresh) == sorted(accepted)
    judged = [event for event in server.events("feedback.judgments") if str(event.event_id) in accepted]
    assert [event.choice for event in judged if hasattr(event, "choice")] == ["A", "B"]  # the order of the items
    assert send(server, "/v1/feedback/bulk", {"items": [THUMB] * 1_000}).json()["accepted"] == 1_000


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "items"), ({"items": []}, "items"), ({"items": [THUMB] * 1_001}, "items"), ({"items": ["up"]}, "items.0"), ([], "body")],
)
def test_a_bulk_that_is_no_list_of_items_is_refused_as_a_whole(server: Server, body: object, field: str) -> None:
    before = server.sizes()
    assert error_of(send(server, "/v1/feedback/bulk", body))["param"] == field
    assert server.sizes() == before
