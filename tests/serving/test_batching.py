"""Continuous batching: a row's reply does not depend on the other rows, and cancelled rows free their slot."""

import asyncio
import json
import random
import resource
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi import FastAPI

from access.guard import AccessGuard
from serving.models.backend import Answer, Choice, Delta, Question, token_counts
from serving.models.generation import Options
from serving.models.local import LocalBackend
from serving.openai.chat import router
from serving.openai.exchange import Service
from serving.pairing import Pairing, PairingRule
from serving.responses import REFUSALS
from serving.safety.safety import Safety
from serving.safety.settings import safety_section
from storage.errors import QueueFull
from storage.events import Message, Sampling
from streams.bus.sqlite import SQLiteBus
from streams.http.errors import answer_errors
from streams.intake import Intake
from tests.generation_thread import GenerationThread
from tests.serving.conftest import StartApp, WaitUntil
from trainers.models.reply import Piece, Reply

pytestmark = pytest.mark.training

if TYPE_CHECKING:
    from serving.models.scheduler import Served
    from trainers.models.sampler import Deliver, Draw


@pytest.fixture(scope="module")
def served(tiny_model: Path) -> "Served":
    from serving.models.scheduler import Served
    from trainers.models.policy import load_policy

    return Served("base", load_policy(str(tiny_model)))


def asked(tokens: int) -> Question:
    return Question((Message(role="user", content="yes ?"),), Sampling(max_tokens=tokens))


def drawn(ids: list[int], seed: int, tokens: int, receive: "Deliver") -> "Draw":
    from trainers.models.sampler import Draw

    sampling = Sampling(seed=seed, max_tokens=tokens, temperature=0.7 + seed % 3 / 4, top_p=0.8 if seed % 2 else 1.0)
    return Draw(ids, sampling, tokens, receive, pieces=False)


def keeping(said: dict[int, Reply], number: int) -> "Deliver":
    """Store the reply under its request's number."""

    def deliver(item: Piece | Reply | Exception) -> None:
        assert isinstance(item, Reply)
        said[number] = item

    return deliver


def test_a_reply_in_a_changing_batch_is_the_same_as_alone(served: "Served") -> None:
    from trainers.models.engine import Batch

    chance = random.Random(3)
    prompts = [[chance.randrange(4, 40) for _ in range(chance.choice([3, 10, 40, 90]))] for _ in range(40)]
    lengths = [chance.randrange(1, 90) for _ in prompts]

    def replies(capacity: int) -> list[Reply]:
        said: dict[int, Reply] = {}
        batch, waiting = Batch(served.policy, capacity, served.version), list(enumerate(prompts))
        while waiting or batch.draws:
            room = min(capacity - len(batch.draws), chance.randrange(1, 5))
            joining, waiting = waiting[:room], waiting[room:]
            if joining:
                batch.admit([drawn(ids, i, lengths[i], keeping(said, i)) for i, ids in joining])
            batch.step()
        return [said[i] for i in range(len(prompts))]

    alone = replies(1)
    assert replies(8) == alone
    assert [reply.prompt_tokens for reply in alone] == [len(ids) for ids in prompts]
    assert {reply.finish_reason for reply in alone} == {"stop", "length"}
    assert all(reply.completion_tokens <= length for reply, length in zip(alone, lengths, strict=True))


def test_a_cancelled_row_leaves_at_the_next_step_and_receives_nothing(served: "Served") -> None:
    from trainers.models.engine import Batch

    heard: list[object] = []
    batch = Batch(served.policy, 4, served.version)
    leaving, staying = (drawn([5, 6, 9], seed, 100, heard.append) for seed in (0, 1))
    batch.admit([leaving, staying])
    leaving.cancelled = True
    batch.step()
    assert batch.draws == [staying]
    assert heard == []


def backend_of(model: Path, *, capacity: int, most_waiting: int) -> LocalBackend:
    backend = LocalBackend(Options(str(model), 1, capacity), most_waiting=most_waiting)
    backend.install("base", None)
    return backend


def test_a_request_beyond_the_queue_limit_is_refused_at_once(tiny_model: Path) -> None:
    async def course() -> None:
        backend = backend_of(tiny_model, capacity=2, most_waiting=3)
        running = [asyncio.create_task(backend.complete(asked(200))) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await backend.complete(replace(asked(5), n=2))
        running.append(asyncio.create_task(backend.complete(asked(200))))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await backend.complete(asked(5))
        assert all(answer.text for answer in await asyncio.gather(*running))
        await backend.close()

    asyncio.run(course())


def test_concurrent_requests_never_exceed_the_queue_limit(tiny_model: Path) -> None:
    async def course() -> None:
        backend = backend_of(tiny_model, capacity=2, most_waiting=5)
        answers = await asyncio.gather(*(backend.complete(asked(2)) for _ in range(200)), return_exceptions=True)
        refused = [each for each in answers if isinstance(each, QueueFull)]
        assert len(answers) - len(refused) == 2 + 5, "two are generated, five wait"
        assert (await backend.complete(asked(2))).usage["completion_tokens"], "each place was given back"
        await backend.close()

    asyncio.run(course())


def test_a_generation_failure_reaches_its_requests_and_later_ones_are_served(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainers.models.engine import Batch

    async def course() -> None:
        backend = backend_of(tiny_model, capacity=2, most_waiting=9)
        with monkeypatch.context() as patch:
            patch.setattr(Batch, "step", lambda self: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                await backend.complete(asked(5))
        assert (await backend.complete(asked(5))).text
        await backend.close()

    asyncio.run(course())


class Endless:
    """A backend whose stream never ends, and that records when it is closed."""

    width = 1
    honoured: frozenset[str] | None = None

    def __init__(self) -> None:
        self.left = threading.Event()

    def why_not_ready(self) -> None:
        return None

    def names(self) -> tuple[str, ...]:
        return ("endless",)

    async def complete(self, question: Question, *, patient: bool = False) -> Answer:
        async for _ in self.stream(question):
            pass
        raise AssertionError("the stream has ended")

    async def close(self) -> None: ...

    async def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        try:
            while True:
                yield Delta({"content": "and on "})
                await asyncio.sleep(0.001)
        finally:
            self.left.set()


def test_a_stream_that_is_left_frees_its_rows(tiny_model: Path, wait_until: WaitUntil) -> None:
    async def course() -> None:
        backend = backend_of(tiny_model, capacity=4, most_waiting=9)
        assert backend._process is not None
        child = backend._process._child
        assert isinstance(child, GenerationThread)
        stream = backend.stream(replace(asked(200), n=3))
        while not isinstance(item := await anext(stream), Delta) or not item.fields["content"]:
            pass
        assert child.generation._scheduler.busy()
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()
        await asyncio.to_thread(wait_until, lambda: not child.generation._scheduler.busy())
        assert (await backend.complete(asked(2))).usage["completion_tokens"]
        await backend.close()

    asyncio.run(course())


@pytest.mark.parametrize("stream", [True, False])
def test_generation_stops_when_the_client_disconnects(start_app: StartApp, tmp_path: Path, stream: bool) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        backend, intake = Endless(), Intake(bus, b"k" * 32)
        app = FastAPI()
        app.include_router(router(Service(backend, intake, Pairing(backend, intake, PairingRule(1.0, 1, 1, 1.0)), 10)))
        answer_errors(app, REFUSALS)
        app.add_middleware(AccessGuard)
        body = {"model": "endless", "messages": [{"role": "user", "content": "go on"}], "stream": stream}
        with start_app(app) as url:
            if stream:
                with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
                    next(answer.iter_lines())
            else:
                with pytest.raises(httpx.ReadTimeout):
                    httpx.post(f"{url}/v1/chat/completions", json=body, timeout=0.2)
            assert backend.left.wait(10)
        assert bus.read(dict.fromkeys(bus.bounds(["chat.replies"]), -1), limit=1, wait=0) == []


class Idle(Endless):
    """A backend whose streams begin and then wait."""

    def __init__(self) -> None:
        super().__init__()
        self.going = asyncio.Event()

    async def stream(self, question: Question) -> AsyncIterator[Delta | Answer]:
        yield Delta({"content": "wait"})
        if question.prompt[0].content == "wait":
            await self.going.wait()
        yield Answer("idle", [Choice("wait", "stop")], token_counts(1, 1))


@pytest.fixture
def many_files() -> Iterator[None]:
    """Files for both ends of a thousand connections: many systems let a process open 1,024 until it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4_096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_streams_do_not_keep_others_waiting(start_app: StartApp, tmp_path: Path) -> None:
    with SQLiteBus(tmp_path / "bus.sqlite") as bus:
        backend, intake = Idle(), Intake(bus, b"k" * 32)
        app = FastAPI()
        off: dict[str, Any] = {"conduct": "off", "insults": "off"}  # filters would hold the text back until its sentence ends
        unfiltered = Safety(safety_section()(**off))
        pairing = Pairing(backend, intake, PairingRule(0.0, 1, 1, 1.0))
        app.include_router(router(Service(backend, intake, pairing, 10, safety=unfiltered)))
        app.add_middleware(AccessGuard)

        def body(text: str) -> bytes:
            return json.dumps({"model": "endless", "stream": True, "messages": [{"role": "user", "content": text}]}).encode()

        async def opened(port: int) -> asyncio.StreamWriter:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body("wait")) + body("wait")
            )
            await reader.readuntil(b"wait")
            return writer

        async def course(url: str) -> None:
            writers = await asyncio.gather(*(opened(int(url.rpartition(":")[2])) for _ in range(1_000)))
            for _ in range(10):
                answer = await asyncio.to_thread(httpx.post, f"{url}/v1/chat/completions", content=body("go on"), timeout=5)
                assert answer.text.endswith("data: [DONE]\n\n")
            for writer in writers:
                writer.close()

        with start_app(app) as url:
            asyncio.run(course(url))
