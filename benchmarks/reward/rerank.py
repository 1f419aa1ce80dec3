"""How long does ``POST /v1/rerank`` take for 100 documents, against embedding the same documents alone in the same process?

A head is trained on the judgments of a fresh world, with its checks, and served over HTTP on this machine. Served requests and plain
embedding take turns. The documents are new in each turn, so that nothing is remembered.
"""

import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import uvicorn

from benchmarks.figures import Figure
from benchmarks.gates.reward import judgments_of_world, pool_of_replies
from serving.app import create_app
from simulation.corpus import draw_reply
from simulation.world import World
from storage.events import Message
from storage.settings import Settings
from storage.strata import stratum_of
from streams.bus.open import open_bus
from streams.health import listen
from trainers.features.embedder import Embedder
from trainers.features.embedding import Remembering
from trainers.features.settings import FeatureSettings
from trainers.reward.validation import MODEL, fitted_and_validated

SEED, JUDGMENTS, POOL, DOCUMENTS, TURNS = 21_000, 480, 160, 100, 40
QUESTION = "When will I hear back about my application?"


def figures(quick: bool) -> Sequence[Figure]:
    """The 99th percentile of served requests, and its ratio to that of embedding."""
    turns = 5 if quick else TURNS
    embedder = Embedder.load(FeatureSettings())
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        _train(home, embedder)
        with _served(home) as url, httpx.Client(base_url=url, timeout=60) as client:
            served, plain = np.array([_turn(client, embedder, turn) for turn in range(turns + 1)])[1:].T  # the first one warms up
    served99, plain99 = float(np.quantile(served, 0.99)), float(np.quantile(plain, 0.99))
    return [
        Figure("rerank_ratio", served99 / plain99, None, None, f"p99 {1e3 * served99:.0f} ms by {1e3 * plain99:.0f} ms", "<=2.0"),
        Figure("rerank_ratio_median", float(np.median(served) / np.median(plain)), None, None, "1"),
    ]


def _train(home: Path, embedder: Embedder) -> None:
    pool = pool_of_replies(Remembering(embedder), POOL, SEED)
    judged = [replace(each, stratum=stratum_of(each.conversation_id)) for each in judgments_of_world(SEED, pool, JUDGMENTS)]
    report = fitted_and_validated(judged, Settings.read(home, {}), "head", home, cross_validate=False)
    assert all(gate.verdict == "passed" for gate in report.checks), [gate.words for gate in report.checks]


@contextmanager
def _served(home: Path) -> Iterator[str]:
    settings = Settings.read(home, {}).with_values({"home": home}, serving={"reward_model": home / MODEL})
    address = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{address.getsockname()[1]}"
    with closing(open_bus(settings.common.bus_url)) as bus:
        server = uvicorn.Server(uvicorn.Config(create_app(settings, bus=bus), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
        thread.start()
        while not server.started or _rank(url) != 200:
            time.sleep(0.1)
        try:
            yield url
        finally:
            server.should_exit = True
            thread.join(10)


def _rank(url: str) -> int:
    body = {"model": MODEL, "query": QUESTION, "documents": ["On Monday."]}
    return httpx.post(f"{url}/v1/rerank", json=body, timeout=60).status_code


def _turn(client: httpx.Client, embedder: Embedder, turn: int) -> tuple[float, float]:
    """Seconds for a served request, and for embedding as many other documents of the same kind."""
    rng, world = random.Random(f"rerank {turn}"), World(SEED)
    one, other = ([draw_reply(rng, world.conversation(rng).records[0]) for _ in range(DOCUMENTS)] for _ in range(2))
    started = time.perf_counter()
    client.post("/v1/rerank", json={"model": MODEL, "query": QUESTION, "documents": one}).raise_for_status()
    between = time.perf_counter()
    embedder.features([((Message(role="user", content=QUESTION),), text) for text in other])
    return between - started, time.perf_counter() - between
