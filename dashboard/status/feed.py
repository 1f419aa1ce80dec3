"""Sends the hub's newest reading to every open page and stream, as soon as a commit has changed it.

The sink's thread calls :meth:`ReadingFeed.wake`; one task on the server's event loop takes a new reading, and every watcher gets it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from dashboard.status.models import Reading

MIN_INTERVAL = 0.1  # seconds between readings: nobody sees more than ten updates a second, and a burst of commits needs only one
HEARTBEAT = 8.0  # maximum seconds between messages: a page that has received none for 13 s (assets/shell.js) takes its connection for dead


class ReadingFeed:
    """Holds the newest reading and lets readers wait for the next.

    Parameters
    ----------
    read : takes a reading with the given revision; called on a worker thread, never concurrently
    """

    def __init__(self, read: Callable[[int], Reading]) -> None:
        self._read = read
        self._woken = asyncio.Event()
        self._changed = asyncio.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading: Reading | None = None
        self._closed = False

    @property
    def reading(self) -> Reading:
        """The newest reading; taken now if there is none yet."""
        if self._reading is None:
            self._reading = self._read(1)
        return self._reading

    def wake(self) -> None:
        """Signal a commit. Thread-safe; a no-op before :meth:`run`."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Take a reading after each wake, at most one per ``MIN_INTERVAL`` and at least one per ``HEARTBEAT``, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._woken.set()
        try:
            while True:
                with suppress(TimeoutError):  # read even without a commit: a stopped consumer commits nothing but has to be reported
                    await asyncio.wait_for(self._woken.wait(), HEARTBEAT)
                self._woken.clear()
                began = time.monotonic()
                revision = self._reading.status.revision + 1 if self._reading else 1
                reading = await asyncio.to_thread(self._read, revision)
                async with self._changed:
                    self._reading = reading
                    self._changed.notify_all()
                await asyncio.sleep(max(MIN_INTERVAL, time.monotonic() - began))  # where readings are slow, leave the CPU to the sink
        finally:
            await self.close()

    async def close(self) -> None:
        """End every watch: open streams would otherwise delay the server's shutdown."""
        self._closed = True
        async with self._changed:
            self._changed.notify_all()

    async def watch(self) -> AsyncIterator[Reading | None]:
        """Yield the newest reading, then each later one; ``None`` as a heartbeat when nothing has changed for ``HEARTBEAT`` seconds."""
        seen = 0
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
