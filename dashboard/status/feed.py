"""Hand what the hub shows to everybody who is looking, as soon as a commit has changed it.

The sink's thread calls :meth:`Live.wake`; one task on the server's loop takes a new reading and every waiting page and stream gets it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from dashboard.status.models import Reading

FRAME = 0.1  # seconds: people see no more than ten pictures a second, and a burst of commits needs no reading each
HEARTBEAT = 8.0  # seconds: a page that has heard nothing for longer than that takes its line for dead


class Live:
    """The newest reading, and a way to wait for the next.

    Parameters
    ----------
    read : takes a reading; called on a worker thread, never twice at a time
    """

    def __init__(self, read: Callable[[int], Reading]) -> None:
        self._read = read
        self._woken = asyncio.Event()
        self._changed = asyncio.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: Reading | None = None
        self._closed = False
        self.watchers = 0

    @property
    def reading(self) -> Reading:
        """The newest reading; taken now where there is none yet."""
        if self._reading is None:
            self._reading = self._read(1)
        return self._reading

    def wake(self) -> None:
        """Something was committed. Safe from any thread; costs nothing when nobody runs the loop yet."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Take a reading after each wake, at most one a frame and at least one a heartbeat, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._woken.set()
        try:
            while True:
                with suppress(TimeoutError):  # also without a commit: a consumer that has stopped commits nothing, and has to be seen
                    await asyncio.wait_for(self._woken.wait(), HEARTBEAT)
                self._woken.clear()
                began = time.monotonic()
                revision = self._reading.status.revision + 1 if self._reading else 1
                reading = await asyncio.to_thread(self._read, revision)
                async with self._changed:
                    self._reading = reading
                    self._changed.notify_all()
                await asyncio.sleep(max(FRAME, time.monotonic() - began))  # where readings are slow the sink needs the machine more
        finally:
            await self.close()

    async def close(self) -> None:
        """End every watch: what streams to pages and clients would otherwise hold up the server's stop."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    async def watch(self) -> AsyncIterator[Reading | None]:
        """Every reading from now on, the newest first; ``None`` as a heartbeat when nothing has changed for a while."""
        seen = 0
        self.watchers += 1
        try:
            while not self._closed:
                async with self._changed:
                    if self._reading is None or self._reading.status.revision <= seen:
                        with suppress(TimeoutError):
                            await asyncio.wait_for(self._changed.wait(), HEARTBEAT)
                    reading = self._reading
                if self._closed:
                    return
                if reading is None or reading.status.revision <= seen:
                    yield None
                else:
                    seen = reading.status.revision
                    yield reading
        finally:
            self.watchers -= 1
