"""The flows of the spool without sockets: two clients on one file, their steps in any order, before a server that fails at any moment."""

import json
import tempfile
from collections.abc import Generator, Iterator
from math import inf
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedbackloop.calls.call import Call
from feedbackloop.calls.feedback import comment
from feedbackloop.delivery import Flow, Send, Work, deliver, flush
from feedbackloop.errors import APIError
from feedbackloop.receipts import Receipt
from feedbackloop.spool import Spool
from tests.profiles import examples

FAILURES = ("no connection", "lost", "busy")
EVENT = "0195f0a0-0000-7000-8000-000000000001"


class Server:
    """Records each key once, in its order, unless the plan says otherwise."""

    def __init__(self, plan: list[str]) -> None:
        self.plan, self.recorded = plan, list[str]()

    def answer(self, call: Call[Any]) -> httpx.Response:
        request = httpx.Request("POST", f"http://server{call.path}")
        fate = self.plan.pop(0) if self.plan else "well"
        if fate == "no connection":
            raise httpx.ConnectError("refused", request=request)
        if fate == "no key":
            return httpx.Response(401, json={"error": {"message": "the key was revoked"}}, request=request)
        if fate == "busy":
            return httpx.Response(503, json={"error": {"message": "busy"}}, request=request)
        said = json.loads(call.body or b"{}")["comment"]
        if said not in self.recorded:
            self.recorded.append(said)
        if fate == "lost":
            raise httpx.ReadError("broken", request=request)
        return httpx.Response(200, json={"event_id": EVENT}, request=request)


def steps(flow: Flow[Any], server: Server) -> Generator[None, None, Any]:
    """Perform a flow, one step at a time; returns its result."""
    answer: Any = None
    error: httpx.HTTPError | None = None
    while True:
        try:
            step = flow.send(answer) if error is None else flow.throw(error)
        except StopIteration as end:
            return end.value
        yield
        answer = error = None
        if isinstance(step, Send):
            try:
                answer = server.answer(step.call)
            except httpx.HTTPError as failure:
                error = failure
        elif isinstance(step, Work):
            answer = step.function()


def performed(flow: Flow[Any], server: Server) -> Any:
    """Perform a whole flow; returns its result."""
    course = steps(flow, server)
    while True:
        try:
            next(course)
        except StopIteration as end:
            return end.value


def product(name: str, count: int, spool: Spool, server: Server) -> Iterator[None]:
    """Record comments one after the other. What is not spooled is on the server when the method returns."""
    for number in range(count):
        said = f"{name}{number}"
        receipt: Receipt = yield from steps(deliver(comment(said, recruiter="ana"), 1, spool), server)
        assert receipt.spooled or said in server.recorded


@settings(max_examples=examples(30))
@given(
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.lists(st.sampled_from(("well", *FAILURES)), max_size=12),
    st.lists(st.integers(0, 1), max_size=60),
)
def test_each_client_keeps_its_order_and_nothing_is_lost_or_left(counts: tuple[int, int], plan: list[str], turns: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        spool, server = Spool(Path(folder) / "spool"), Server(plan)
        products = [product(name, count, spool, server) for name, count in zip("ab", counts, strict=True)]
        for turn in [*turns, *[0] * 500, *[1] * 500]:
            next(products[turn], None)
        server.plan.clear()
        for _ in steps(flush(spool, 0), server):
            pass
        assert spool.waiting() == 0
        for name, count in zip("ab", counts, strict=True):
            assert [said for said in server.recorded if said.startswith(name)] == [f"{name}{number}" for number in range(count)]


def test_what_waits_is_not_lost_while_the_key_is_not_valid(tmp_path: Path) -> None:
    spool, server = Spool(tmp_path / "spool"), Server(["no connection", "no key", "no key"])
    for said in ("one", "two"):
        assert performed(deliver(comment(said, recruiter="ana", conversation_id="c"), 0, spool), server).spooled
    with pytest.raises(APIError, match="revoked"):
        performed(flush(spool, 0), server)
    assert (spool.waiting(), spool.refused()) == (2, [])
    assert performed(flush(spool, 0), server) == 2
    assert server.recorded == ["one", "two"]


def test_a_call_that_queues_behind_another_client_is_not_left_in_the_spool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One client pauses after some of its steps, the other runs until then and ends, or the other way round."""
    monkeypatch.setattr("feedbackloop.delivery.DRAIN_SECONDS", inf)
    for first, second in [(first, second) for first in range(2, 10) for second in range(2, 5)]:
        spool, server = Spool(tmp_path / f"spool-{first}-{second}"), Server(["no connection"] * 2)
        run(product("before", 1, spool, server), 100)
        assert spool.waiting() == 1
        one, other = (product(name, 1, spool, server) for name in "ab")
        run(one, first)
        run(other, second)
        run(one, 100)
        run(other, 100)
        assert spool.waiting() == 0
        assert sorted(server.recorded) == ["a0", "b0", "before0"]


def run(client: Iterator[None], count: int) -> None:
    """Perform up to so many steps."""
    for _ in range(count):
        next(client, None)
