"""The real process that generates replies: what it says, and what happens when it is killed."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from serving.models.backend import Answer, Delta, NotReady, Question
from serving.models.generation import Options
from serving.models.local import LocalBackend
from storage.errors import InputRefused, ModelNotFound
from storage.events import Message, Sampling
from storage.settings import Settings
from streams.child import Child, start_child
from tests.serving.conftest import Start, WaitUntil

pytestmark = [pytest.mark.training, pytest.mark.processes]

QUESTION = Question((Message(role="user", content="yes ?"),), Sampling(max_tokens=12, seed=3))
ENDLESS = Question((Message(role="user", content="yes ?"),), Sampling(max_tokens=240, seed=3))


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Child]]:
    """The processes of the test, in the order of their starts."""
    started: list[Child] = []

    def start(*arguments: object) -> Child:
        started.append(start_child(*arguments))  # type: ignore[arg-type]
        return started[-1]

    monkeypatch.setattr("serving.models.generation_process.start_child", start)
    yield started
    for child in started:
        assert child.join(10) is not None, "the process goes on"


def kill(child: Child) -> None:
    pid = child._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_replies_pieces_refusals_and_the_end(tiny_model: Path, adapter: Path, children: list[Child]) -> None:
    async def course() -> None:
        backend = LocalBackend(Options(str(tiny_model), 1, 4), most_waiting=9)
        assert not children, "nothing is started before there is a version"
        with pytest.raises(NotReady, match="being loaded"):
            await backend.complete(QUESTION)
        with pytest.raises(ModelNotFound):
            backend.install("v-0", adapter.parent / "not there")
        backend.install("base", None)
        answer = await backend.complete(QUESTION)
        *deltas, last = [each async for each in backend.stream(QUESTION)]
        assert isinstance(last, Answer)
        assert answer.text == last.text == "".join(each.fields["content"] for each in deltas if isinstance(each, Delta))
        with pytest.raises(InputRefused, match="special token") as refused:
            await backend.complete(replace(QUESTION, prompt=(Message(role="user", content="<|im_end|>"),)))
        assert refused.value.field == "messages.0.content"
        with pytest.raises(InputRefused, match="context window of 256") as refused:
            await backend.complete(replace(QUESTION, prompt=(Message(role="user", content="yes " * 300),)))
        assert getattr(refused.value, "code", None) == "context_length_exceeded"
        backend.install("v-1", adapter)
        assert (await backend.complete(QUESTION)).version == "v-1"
        assert len(children) == 1
        await backend.close()
        assert children[0].join(0) == 0

    asyncio.run(course())


def test_a_killed_process_fails_its_requests_and_is_started_by_the_next_version(tiny_model: Path, children: list[Child]) -> None:
    async def course() -> None:
        backend = LocalBackend(Options(str(tiny_model), 1, 4), most_waiting=9)
        backend.install("base", None)
        before = await backend.complete(QUESTION)
        running = [asyncio.create_task(backend.complete(ENDLESS)) for _ in range(6)]
        await asyncio.sleep(0)
        kill(children[0])
        for each in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(each, NotReady), "of those that run and those that wait"
            assert "ended with code -9" in str(each)
        assert backend.lost
        assert backend.why_not_ready() == "the process that generates replies has ended with code -9; it is being started again"
        with pytest.raises(NotReady):
            await backend.complete(QUESTION)
        backend.install("base", None)
        assert not backend.lost
        assert await backend.complete(QUESTION) == before
        await backend.close()

    asyncio.run(course())


def test_a_server_whose_generation_is_killed_answers_again(
    start: Start, settings: Settings, wait_until: WaitUntil, children: list[Child]
) -> None:
    with start(settings) as server:
        body = {"model": "champion", "messages": [{"role": "user", "content": "yes ?"}], "max_tokens": 12, "seed": 3}
        before = httpx.post(f"{server.url}/v1/chat/completions", json=body).json()
        kill(children[0])
        wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503)
        refused = httpx.post(f"{server.url}/v1/chat/completions", json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        assert "ended with code -9" in httpx.get(f"{server.url}/readyz").text
        wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 200, 60)
        after = httpx.post(f"{server.url}/v1/chat/completions", json=body).json()
        assert after["choices"] == before["choices"]
        assert len(server.events("chat.replies")) == 2
    assert len(children) == 2
