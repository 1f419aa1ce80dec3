"""A hub, a chat service and the embedding consumer on one bus, with simulated people who use them over HTTP at a calm pace."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import uvicorn

from serving.app import create_app
from simulation.people import Chats, candidates_chat, recruiters_judge
from simulation.recruiters import draw_recruiters
from simulation.world import World
from storage.settings import Settings
from storage.texts.texts import Texts
from streams.bus.open import open_bus
from streams.health import listen
from streams.processor import start_consumers
from streams.stations.runner import Runner
from tests.dashboard.small_world import RunningHub, running_hub, wait_until
from trainers.features.embedder import Embedder
from trainers.features.settings import FeatureSettings

RECRUITERS = 12


@contextmanager
def loop_with_people(home: Path, judged: float, begun: float) -> Iterator[RunningHub]:
    """Run the loop; people judge at most ``judged`` pairs and begin at most ``begun`` conversations per second until the exit."""
    settings = Settings.read(home, {}).with_values(
        {"home": home, "sources": ("simulation",)}, serving={"max_tokens": 32}, asking={"repeated_share": 0}
    )
    stop = threading.Event()
    address = listen("127.0.0.1", 0)
    serving = f"http://127.0.0.1:{address.getsockname()[1]}"
    with running_hub(home) as hub, closing(open_bus(settings.common.bus_url)) as bus:
        runner = Runner(stop)
        start_consumers(runner, bus, settings, Embedder.load(settings.section("features", FeatureSettings)), Texts.of(settings), stop)
        server = uvicorn.Server(uvicorn.Config(create_app(settings, bus=bus), log_level="warning"))
        chat = threading.Thread(target=server.run, kwargs={"sockets": [address]}, daemon=True)
        chat.start()
        wait_until(lambda: server.started and httpx.get(f"{serving}/readyz").status_code == 200, bool, 60)
        people = _People(serving, hub.url, judged, begun)
        people.start()
        try:
            yield hub
        finally:
            people.stop()
            stop.set()
            server.should_exit = True
            chat.join(10)
            runner.join(30)


class _People(threading.Thread):
    def __init__(self, serving: str, hub: str, judged: float, begun: float) -> None:
        super().__init__(daemon=True)
        self._servers = {"serving": serving, "hub": hub}
        self._judged, self._begun = judged, begun
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None

    def run(self) -> None:
        self._task = self._loop.create_task(self._live())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return

    def stop(self) -> None:
        """Stop them; an AssertionError if they had stopped by themselves."""
        assert self.is_alive(), "the simulated people stopped by themselves"
        assert self._task is not None
        self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(10)

    async def _live(self) -> None:
        world, chats = World(0), Chats()
        recruiters = draw_recruiters(world, RECRUITERS)
        async with httpx.AsyncClient(timeout=60) as client:
            await asyncio.gather(
                candidates_chat(
                    client, world, total=2_000, seed=0, chats=chats, serving=self._servers["serving"], concurrency=2, rate=self._begun
                ),
                recruiters_judge(
                    client,
                    world,
                    chats,
                    recruiters=recruiters,
                    judgments=100_000,
                    seed=0,
                    rate=self._judged,
                    patience=600.0,
                    serving=self._servers["serving"],
                    hub=self._servers["hub"],
                ),
            )
